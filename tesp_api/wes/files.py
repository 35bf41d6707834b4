"""The files that a run may see, read on this server in the name of the run's owner.

Readable are: what the run has itself (its attachments, its work storage), the work storage of runs that it
builds on, file roots of the embedded destination, and by http(s), ftp(s) and s3 whatever tasks of the owner
may name: by the same rules, lists, guard and credentials. Writable is the run's work storage alone.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tesp_api.errors import Fault, InvalidRequest, StorageUnavailable
from tesp_api.settings import Settings
from tesp_api.storage import work_places
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.looks import Look, Missing, Seen, look_at
from tesp_api.storage.owner_lender import OwnerLender
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.storage.stoppable import Stop, StoppableGuard, in_thread
from tesp_api.storage.url_rules import UrlRules, worker_rules
from tesp_api.tes.urls import url_fault
from tesp_api.wes.engines.base import EngineRun, FileStat
from tesp_api.worker.errors import Canceled, StagingError, StorageAway
from tesp_api.worker.mounts import is_below
from tesp_api.worker.order import FileRoot, Patience
from tesp_api.worker.transfer import Site, Source, transfer_for
from tesp_api.worker.transfer.roots import resolve_in_roots
from tesp_api.worker.urls import extend, local_path, scheme_of, shown

MOST_AT_ONCE = 8
"""Looks of one run at one time."""

T = TypeVar("T")


class StorageFiles:
    """`RunFiles` for one run, to be closed in the end; `readable` are URLs of further directories to read."""

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        signer: S3Signer,
        *,
        owner: str,
        run: EngineRun,
        readable: Sequence[str] = (),
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._signer = signer
        self._owner = owner
        self._work_url = run.work_url
        self._base = run.work_url.rstrip("/").rpartition("/")[0] + "/"
        self._own = (run.work_url, *readable)
        self._rules = UrlRules(settings)
        self._stop = Stop()
        self._threads = asyncio.Semaphore(MOST_AT_ONCE)
        self._own_roots = _roots_of(run, readable)
        self._roots = (*self._own_roots, *_shared_roots(settings))

    async def aclose(self) -> None:
        """End every connection, and with it what still waits for a server."""
        self._stop.ask()

    async def stat(self, url: str) -> FileStat:
        seen = await self._look(url, lambda look, place, site: look.stat(place, site))
        return _stat(url, seen)

    async def read(self, url: str, *, offset: int, limit: int) -> bytes:
        return await self._look(url, lambda look, place, site: look.read(place, offset, limit, site))

    async def listing(self, url: str) -> Sequence[FileStat]:
        found = await self._look(url, lambda look, place, site: look.listing(place, site))
        return [_stat(extend(url, name), seen) for name, seen in sorted(found.items())]

    async def write(self, url: str, data: bytes) -> None:
        if fault := url_fault(url):
            raise _refusal(url, fault)
        if not _is_within(url, self._work_url) or url.endswith("/"):
            raise _refusal(url, f"only files below {self._work_url} may be written by this run")
        await self._in_thread(url, lambda: _send(url, data, self._site(url)))

    async def _look(self, url: str, look: Callable[[Look, str, Site], T]) -> T:
        if fault := url_fault(url) or self._rules.fault(url):
            raise _refusal(url, fault)
        scheme, sign, rest = url.partition("://")
        place = f"{scheme.lower()}{sign}{rest}" if sign and scheme_of(url) else url
        return await self._in_thread(place, lambda: self._look_now(place, look))

    def _look_now(self, url: str, look: Callable[[Look, str, Site], T]) -> T:
        if scheme_of(url) in ("", "file"):
            url = self._real_path(url)
        else:
            self._refuse_work_of_others(url)
        return look(look_at(url), url, self._site(url))

    def _refuse_work_of_others(self, url: str) -> None:
        """Raises: InvalidRequest for a URL of what another run has, or of a directory of all runs."""
        if any(work_places.is_below(url, own) for own in self._own):
            return
        if work_places.is_below(url, self._base):
            raise _refusal(url, "this is the work storage of another run")
        if work_places.is_below(self._base, url):
            raise _refusal(url, "in this directory workflow runs keep their files: name one beside these")

    def _real_path(self, url: str) -> str:
        """The path here that a URL names, once all links are followed.

        Raises: InvalidRequest for what another run has, or the server itself; StagingError beyond the roots.
        """
        path, _ = resolve_in_roots(url, self._roots)
        if any(is_below(path, os.path.realpath(root.path)) for root in self._own_roots):
            return path
        closed = [str(self._settings.data_dir)]
        closed += [local_path(self._base)] if scheme_of(self._base) == "file" else []
        if any(is_below(path, os.path.realpath(one)) for one in closed):
            raise _refusal(url, "this is the server's own, or the work storage of another run")
        return path

    def _site(self, url: str) -> Site:
        """What the transfer code gets of this server, to look at `url`."""
        guard = StoppableGuard(**worker_rules(self._settings)._asdict())
        guard.stop = self._stop
        rules = self._settings.transfers
        return Site(
            roots=self._roots,
            cancellation=self._stop,
            message=lambda _: None,
            patience=Patience(**{name: getattr(rules, name) for name in Patience._fields}),
            lender=OwnerLender(url, self._owner, self._credentials, self._signer),
            guarding=lambda: guard,
        )

    async def _in_thread(self, url: str, call: Callable[[], T]) -> T:
        """Raises: FileNotFoundError, InvalidRequest, StorageUnavailable."""
        async with self._threads:
            try:
                return await in_thread(call)
            except Missing as error:
                raise FileNotFoundError(2, str(error), url) from error
            except StorageAway as error:
                if any(_is_within(url, own) for own in self._own):  # it will be there again, and needed
                    raise StorageUnavailable(str(error)) from error
                raise InvalidRequest([Fault("url", str(error))]) from error
            except (StagingError, Canceled) as error:
                raise InvalidRequest([Fault("url", str(error))]) from error


def _roots_of(run: EngineRun, readable: Sequence[str]) -> tuple[FileRoot, ...]:
    """The run's own folders on this machine; only its work storage may be written to."""
    found = [FileRoot(str(run.attachments), "ro")]
    for url in (run.work_url, *readable):
        if scheme_of(url) in ("", "file"):
            found.append(FileRoot(local_path(url), "copy" if url == run.work_url else "ro"))
    return tuple(found)


def _shared_roots(settings: Settings) -> tuple[FileRoot, ...]:
    """Those of the embedded destination, whose machine is this one."""
    sites = [site for site in settings.destinations.values() if site.kind == "embedded"]
    return tuple(FileRoot(str(Path(root.path)), "ro") for site in sites for root in site.file_roots)


def _is_within(url: str, directory: str) -> bool:
    """By the letters of both; a part that a server might resolve is in no directory."""
    parts = url.replace("%2e", ".").replace("%2E", ".").replace("%2f", "/").replace("%2F", "/").split("/")
    return url.startswith(directory.rstrip("/") + "/") and not {".", ".."} & set(parts)


def _send(url: str, data: bytes, site: Site) -> None:
    descriptor = os.memfd_create("run-file", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        status = os.fstat(descriptor)
        name = url.rpartition("/")[2]
        source = Source(descriptor, status.st_size, status.st_mtime_ns, status.st_mode & 0o666, name)
        transfer_for(url).send_file(source, url, site)
    finally:
        os.close(descriptor)


def _stat(url: str, seen: Seen) -> FileStat:
    return FileStat(url, seen.kind, seen.size_bytes)


def _refusal(url: str, fault: str) -> InvalidRequest:
    return InvalidRequest([Fault("url", f"{shown(url)}: {fault}")])
