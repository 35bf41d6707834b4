"""Outputs on their way through the gateway: out of the job into the spool, and from there to their URLs."""

import asyncio
import hashlib
import os
import posixpath
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

from tesp_api.runner.gateway import Passage, is_remote
from tesp_api.storage.stoppable import all_of
from tesp_api.store.base import Changes
from tesp_api.tes.states import State
from tesp_api.worker.cancellation import Cancellation
from tesp_api.worker.errors import StagingError
from tesp_api.worker.job import write_all
from tesp_api.worker.progress import Progress, Tally
from tesp_api.worker.transfer import Moved, Site, Source, transfer_for
from tesp_api.worker.urls import extend, shown

_STORE_EVERY_S = 2.0
_FETCH_TRIES = 3


class Left(NamedTuple):
    """A file that the worker has left for us, or an empty directory, which has no `file`."""

    url: str
    path: str
    file: str | None
    moved: Moved
    output: int
    """The number of the task's output that it belongs to."""

    def as_output(self) -> dict[str, Any]:
        """As result.json names an output that was sent."""
        return {"url": shown(self.url), "path": self.path, **self.moved._asdict()}


@dataclass(slots=True)
class GatewayOutputs:
    """The outputs of one attempt."""

    passage: Passage
    _sent: list[Left] = field(init=False, default_factory=list)
    _stored_at: float = field(init=False, default_factory=time.monotonic)

    async def send(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Send what the worker has left, and return its result as it is after that.

        What it has left counts, not the settings, which may have changed since the job was launched.
        Of an attempt that has failed already, a failure to send is noted and changes nothing, as with the
        worker's own outputs. What an earlier call, or process, has sent is not sent again.

        Raises:
            PulsarUnavailable, PulsarRefused, StoreUnavailable, ClaimLost: as they come.
        """
        if not result.get("left") or result["state"] == State.CANCELED:
            return dict(result)
        state, reason, messages = result["state"], result.get("reason", ""), list(result["system_logs"])
        cause = result.get("cause", "")
        try:
            left = [self._checked(entry) for entry in result["left"]]
            if not await self.passage.until_canceled(self._send_all(left)):
                state, reason = State.CANCELED, "canceled while the gateway sent its outputs"
        except StagingError as error:
            if state == State.COMPLETE:
                state, reason, cause = State.SYSTEM_ERROR, str(error), error.cause
            else:
                messages.append(str(error))
        sent = [one.as_output() for one in self._sent if one.file]
        return {
            **result,
            "state": state,
            "reason": reason,
            "cause": cause,
            "outputs": [*result["outputs"], *sent],
            "system_logs": [*messages, *self.passage.messages],
        }

    def _checked(self, entry: Mapping[str, Any]) -> Left:
        """What an entry means for us. Its URL is the task's: whoever rules the site does not choose it.

        Raises:
            StagingError: it is none that a worker writes.
        """
        declared = self.passage.task.request.get("outputs", ())
        try:
            number, below, file = entry["output"], entry["below"], entry["file"]
            moved = Moved(int(entry["size_bytes"]), str(entry["sha256"])) if file else Moved(0, "")
            parts = [unquote(part, errors="surrogateescape") for part in below.split("/")[1:]]
            is_sound = (
                0 <= number < len(declared)
                and is_remote(declared[number])
                and re.fullmatch(r"(/[^/?#]+)*", below)
                and not any(part in (".", "..") or "/" in part for part in parts)
                and (file is None or re.fullmatch(r"[0-9]{6,12}", file))
                and moved.size_bytes >= 0
            )
            if is_sound:
                url = extend(declared[number]["url"], "/".join(parts)) if parts else declared[number]["url"]
                return Left(url, str(entry["path"]), file, moved, number)
        except (KeyError, TypeError, ValueError, AttributeError):
            pass
        raise StagingError("The worker's result names outputs that the task has not declared")

    async def _send_all(self, left: list[Left]) -> bool:
        passage = self.passage
        done = {(entry["url"], entry["path"]) for entry in passage.log.outputs}
        rest: list[Left] = []
        for one in left:
            is_sent = one.file is not None and (shown(one.url), one.path) in done
            (self._sent if is_sent else rest).append(one)
        await passage.tell(f"the gateway sends {len(rest)} outputs of job {passage.job_id}")
        allowance = passage.allowance("outputs")
        async with passage.spooled() as folder, passage.events.telling() as progress:
            for one in left:  # before the first byte moves: they are known
                allowance.check_size(one.url, one.moved.size_bytes)
            site, tallies = passage.transfers(allowance), self._tallies(rest)
            calls = [
                partial(self._send_one, one, folder, site._replace(progress=tallies[one.output]), progress)
                for one in rest
            ]
            await all_of(calls, passage.at_once)
        await passage.tell(f"the gateway has sent {len(left)} outputs, {allowance.total_bytes} bytes in all")
        return True

    def _tallies(self, left: list[Left]) -> dict[int, Tally]:
        """One for each of the task's outputs, by its number."""
        counts = dict.fromkeys((one.output for one in left), 0)
        for one in left:
            counts[one.output] += one.file is not None
        outputs = self.passage.task.request["outputs"]
        return {
            number: Tally(
                count, direction="output", url=shown(outputs[number]["url"]), path=outputs[number]["path"]
            )
            for number, count in counts.items()
        }

    async def _send_one(self, one: Left, folder: Path, site: Site, progress: Progress) -> None:
        passage = self.passage
        if one.file is None:
            await passage.in_thread(partial(transfer_for(one.url).make_directory, one.url, site))
            return
        place = folder / uuid.uuid4().hex
        await self._fetch(one, place)
        await passage.fence.check()
        with progress.watch(site.progress):
            await passage.in_thread(partial(_send, one, place, site))
        await asyncio.to_thread(place.unlink)
        self._sent.append(one)
        if time.monotonic() - self._stored_at >= _STORE_EVERY_S:
            self._stored_at = time.monotonic()
            await self._store_sent()

    async def _store_sent(self) -> None:
        """Let the task show what was sent so far, and a process after this one know it."""
        passage = self.passage
        passage.log.outputs = [
            {"url": shown(one.url), "path": one.path, "size_bytes": str(one.moved.size_bytes)}
            for one in self._sent
        ]
        await passage.store.update(passage.task.id, Changes(log=passage.log.as_json()), claim=passage.claim)

    async def _fetch(self, one: Left, place: Path) -> None:
        """Raises: StagingError if what comes out of the job is not what the worker has put there."""
        passage = self.passage

        async def fetch() -> Moved | None:
            with Arriving(place, one.moved.size_bytes, passage.stop) as arriving:
                name = f"out/{one.file}"
                is_there = await passage.transport.fetch_file(passage.job_id, name, arriving.take)
                return arriving.moved if is_there else None

        for _ in range(_FETCH_TRIES):
            if await passage.insist(fetch) == one.moved:
                return
        raise StagingError(f"The output {one.path} cannot be fetched from the site as the worker left it")


class Arriving:
    """A file that comes out of a job, counted and hashed on its way; use it as a context manager."""

    def __init__(self, place: Path, size_bytes: int, stop: Cancellation) -> None:
        try:
            self._file = place.open("wb", buffering=0)
        except OSError as error:
            raise StagingError(f"The gateway cannot store an output: {error.strerror}") from error
        self._wanted_bytes = size_bytes
        self._size_bytes = 0
        self._stop = stop
        self._hash = hashlib.sha256()

    def take(self, piece: bytes) -> None:
        """Raises: Canceled; StagingError if it grows larger than was said, or the disk does not take it."""
        self._stop.check()
        self._size_bytes += len(piece)
        if self._size_bytes > self._wanted_bytes:
            raise StagingError(f"An output is larger than the {self._wanted_bytes} bytes that were announced")
        self._hash.update(piece)
        try:
            write_all(self._file.fileno(), piece)
        except OSError as error:
            raise StagingError(f"The gateway cannot store an output: {error.strerror}") from error

    @property
    def moved(self) -> Moved:
        """What has come."""
        return Moved(self._size_bytes, self._hash.hexdigest())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _send(one: Left, place: Path, site: Site) -> None:
    """Raises: StagingError, Canceled."""
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        name = posixpath.basename(one.path)
        source = Source(descriptor, status.st_size, status.st_mtime_ns, status.st_mode, name)
        if transfer_for(one.url).send_file(source, one.url, site) != one.moved:
            raise StagingError(f"The output {one.path} changed in the spool of the gateway")
        site.progress.finish(source.key)
    finally:
        os.close(descriptor)
