"""The gateway's files at the site: the API brings and takes them, where the nodes have no network."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import quote

from .attempt import Attempt
from .errors import StagingError, SystemFailure
from .job import make_directories, write_all
from .outputs import Found
from .transfer import Moved, Site, Source
from .transfer.moving import Reading
from .urls import scheme_of


class Brought:
    """The remote inputs, which lie in `inputs/`; `inputs.json` says what is what."""

    def __init__(self, attempt: Attempt) -> None:
        """Raises: SystemFailure without a usable index."""
        self._attempt = attempt
        try:
            with open(attempt.job.brought, encoding="utf-8") as file:
                index = json.load(file)
            self._entries: dict[str, list[dict[str, Any]]] = index["inputs"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SystemFailure(
                f"Cannot read what the gateway has brought: {type(error).__name__}: {error}"
            ) from error
        for text in index.get("messages", ()):
            attempt.record.message(text)

    def take(self, number: int, path: str, place: str) -> dict[str, Moved]:
        """Move the files of the task's input `number` to their place; by relative name.

        Raises: StagingError for one that is not what the gateway has sent; Canceled.
        """
        moved = {}
        for entry in self._entries.get(str(number), ()):
            name = entry["name"]
            target = os.path.join(place, name) if name else place
            if entry["file"] is None:
                make_directories(target)
                continue
            make_directories(os.path.dirname(target))
            source = os.path.join(self._attempt.job.inputs, entry["file"])
            moved[name] = _bring(source, target, self._attempt.transfers)
            if moved[name] != (entry["size_bytes"], entry["sha256"]):
                raise StagingError(
                    f"The input {os.path.join(path, name) if name else path} has arrived changed:"
                    f" {moved[name].size_bytes} of {entry['size_bytes']} bytes, or other ones"
                )
        return moved


def leave(item: Found, source: Source | None, attempt: Attempt) -> None:
    """Put an output where the API fetches it, and note it in the result; None is an empty directory.

    Raises: StagingError, Canceled.
    """
    below = _below(item.url, attempt.order.outputs[item.output].url)
    entry: dict[str, Any] = {"output": item.output, "below": below, "path": item.path, "file": None}
    if source is not None:
        entry["file"] = f"{len(attempt.result.left) + 1:06d}"
        try:
            entry.update(_put_out(item, source, entry["file"], attempt)._asdict())
        except OSError as error:
            raise StagingError(f"Cannot store the output {item.path}: {error.strerror}") from error
    attempt.result.left.append(entry)


def _below(url: str, declared: str) -> str:
    """What `extend` has added to the declared URL, percent-encoded also where it is not in URLs."""
    if scheme_of(url) == "s3":
        return quote(url.rstrip("/")[len(declared.rstrip("/")) :], errors="surrogateescape")
    base = declared.partition("?")[0].rstrip("/")
    return url.partition("?")[0].rstrip("/")[len(base) :]


def _put_out(item: Found, source: Source, name: str, attempt: Attempt) -> Moved:
    os.makedirs(attempt.job.out, exist_ok=True)
    place = os.path.join(attempt.job.out, name)
    host = attempt.view.host_path(item.resolved) or ""
    # what lies in a shared directory could be changed there later
    is_linked = host.startswith(attempt.job.task + os.sep) and _link(source.descriptor, place)
    return _read(source, attempt.transfers, None if is_linked else place)


def _bring(path: str, target: str, site: Site) -> Moved:
    try:
        status = os.stat(path)
        is_ours = status.st_uid == os.geteuid() and status.st_dev == os.stat(os.path.dirname(target)).st_dev
        if is_ours:
            os.rename(path, target)
            path = target
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StagingError(f"Cannot take what the gateway has brought ({path}): {error.strerror}") from error
    try:
        source = Source(descriptor, status.st_size, status.st_mtime_ns, status.st_mode, path)
        moved = _read(source, site, None if is_ours else target)
        os.chmod(target, 0o666)  # noqa: S103 - the executors' user may be another one
        return moved
    finally:
        os.close(descriptor)


def _read(source: Source, site: Site, copy: str | None) -> Moved:
    """Hash a file, and copy it to a new one if it could not be moved or linked."""
    reading = Reading(source, site)
    if copy is None:
        for _ in reading:
            continue
        return reading.finish()
    target = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        for data in reading:
            write_all(target, data)
    finally:
        os.close(target)
    return reading.finish()


def _link(descriptor: int, place: str) -> bool:
    """Give the very file that is open a second name; False if that cannot be done here."""
    try:
        # with a directory Python calls linkat, which alone follows the kernel's link
        os.link(f"/proc/self/fd/{descriptor}", place, src_dir_fd=descriptor, follow_symlinks=True)
        return True
    except OSError:
        return False
