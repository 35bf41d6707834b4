"""The files of workflow runs as this server keeps, shows and removes them: in a local folder, or in S3.

URLs are those beneath a run's `work_url`; that they are is for the caller to see to.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Protocol

from tesp_api.settings import Settings
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.storage.work_files_local import Found, LocalWorkFiles
from tesp_api.storage.work_places import base_url
from tesp_api.tes.urls import scheme_of


class WorkFiles(Protocol):
    """Keeps the files of all runs. `owner` is whose run it is: S3 is asked with what that user may use.

    Raises `FileNotFoundError` where there is nothing, and `StorageUnavailable` where the storage fails.
    """

    @property
    def base_url(self) -> str:
        """The folder of all runs' folders; it ends with a slash."""

    async def open(self) -> None:
        """Make ready. Called once, before anything else."""

    async def aclose(self) -> None:
        """Let go of connections."""

    async def put(self, url: str, file: BinaryIO, *, owner: str) -> None:
        """Keep a copy of an open file at `url`."""

    def local(self, url: str) -> Path | None:
        """Where it is on this machine; None if it is not. It must be below `base_url`."""

    async def stat(self, url: str, *, owner: str) -> Found:
        """What is there."""

    async def walk(self, url: str, *, owner: str) -> list[Found]:
        """All files beneath a directory, by name; the file itself if it is one."""

    def read(self, url: str, *, owner: str, offset: int, length: int) -> AsyncIterator[bytes]:
        """`length` bytes of a file from `offset` on, in pieces."""

    async def remove(self, url: str, *, owner: str) -> None:
        """Remove a directory with all beneath it; does nothing if there is none."""


def why_elsewhere(base_url: str, run_id: str, work_url: str) -> str:
    """Why the files of a run cannot be in its folder below `base_url`: another `wes.work_url` has named
    another place; "" if they can."""
    if work_url == f"{base_url}{run_id}/":
        return ""
    return (
        f"the files of run {run_id} are in {work_url}, but this server looks for them in "
        f"{base_url}{run_id}/: the setting wes.work_url (or data_dir) is another one"
    )


def build_work_files(settings: Settings, credentials: Credentials, signer: S3Signer) -> WorkFiles:
    """The one that the settings ask for, not yet open."""
    if scheme_of(base_url(settings)) == "s3":
        from tesp_api.storage.work_files_s3 import S3WorkFiles  # httpx: not for servers without S3

        return S3WorkFiles(base_url(settings), credentials, signer)
    return LocalWorkFiles(base_url(settings))
