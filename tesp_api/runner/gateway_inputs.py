"""Inputs on their way through the gateway: from their URLs to the spool, and from there into the job."""

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tesp_api.runner.attempt_log import Ending
from tesp_api.runner.gateway import Passage, failed, is_remote
from tesp_api.storage.stoppable import all_of
from tesp_api.tes.states import State
from tesp_api.worker.errors import StagingError
from tesp_api.worker.progress import Progress, Tally
from tesp_api.worker.transfer import Moved, Site, transfer_for
from tesp_api.worker.urls import shown

INDEX = "inputs.json"
"""Written when all inputs are in the job's directory: a launch after a restart need not fetch them again."""


class Fetched(NamedTuple):
    """An input in the spool: its files by relative name, "" being the input itself, and empty directories."""

    files: dict[str, Moved]
    directories: list[str]


@dataclass(slots=True)
class GatewayInputs:
    """The inputs of one attempt."""

    passage: Passage

    async def bring(self) -> Ending | None:
        """Put every input of a server into the job, which is set up for that, and not launched.

        Each goes its way as soon as it is fetched and leaves the spool, so this holds a few at a time.
        Returns how the attempt has ended if it has: an input cannot be had, or is too large, or the task
        is being canceled. Does nothing if an earlier call, or process, has done it all.

        Raises:
            PulsarUnavailable, PulsarRefused, StoreUnavailable, ClaimLost: as they come.
        """
        inputs = self.passage.task.request.get("inputs", ())
        remote = {number: item for number, item in enumerate(inputs) if is_remote(item)}
        if not remote or await self._are_there():
            return None
        try:
            brought = await self.passage.until_canceled(self._bring(remote))
        except StagingError as error:
            return failed(error)
        return None if brought else Ending(State.CANCELED, "canceled while the gateway fetched its inputs")

    async def _are_there(self) -> bool:
        index = await self.passage.transport.read_file(self.passage.job_id, INDEX)
        try:
            return index is not None and isinstance(json.loads(index), dict)
        except ValueError:  # a part of it: the write was cut off
            return False

    async def _bring(self, remote: Mapping[int, Mapping[str, Any]]) -> bool:
        passage = self.passage
        await passage.transport.set_up(passage.job_id)  # while Pulsar is away, nothing is fetched in vain
        await passage.tell(f"the gateway fetches {len(remote)} inputs for job {passage.job_id}")
        allowance = passage.allowance("inputs")
        async with passage.spooled() as folder, passage.events.telling() as progress:
            site = passage.transfers(allowance)
            calls = [
                partial(self._bring_one, number, item, folder, site, progress)
                for number, item in remote.items()
            ]
            entries = await all_of(calls, passage.at_once)
        index = {"inputs": dict(zip(map(str, remote), entries, strict=True)), "messages": passage.messages}
        data = json.dumps(index).encode()
        await passage.fence.check()
        await passage.insist(partial(passage.transport.write_file, passage.job_id, INDEX, data))
        files = sum(bool(entry["file"]) for found in entries for entry in found)
        await passage.tell(
            f"the gateway has brought {files} files, {allowance.total_bytes} bytes, into job {passage.job_id}"
        )
        return True

    async def _bring_one(
        self, number: int, item: Mapping[str, Any], folder: Path, site: Site, progress: Progress
    ) -> list[dict[str, Any]]:
        """Fetch and place one input; its entries in the index."""
        passage, place = self.passage, folder / str(number)
        count = None if item.get("type") == "DIRECTORY" else 1
        tally = Tally(count, direction="input", url=shown(item["url"]), path=item["path"])
        with progress.watch(tally):
            fetched = await passage.in_thread(partial(_fetch, item, place, site._replace(progress=tally)))
        entries = [_entry(name, None, Moved(0, "")) for name in fetched.directories]
        for count, (name, moved) in enumerate(fetched.files.items()):
            file, source = f"{number}-{count}", place / name if name else place
            await passage.fence.check()
            await passage.insist(partial(passage.transport.place_file, passage.job_id, file, source))
            entries.append(_entry(name, file, moved))
        await asyncio.to_thread(_remove, place)
        return entries


def _fetch(item: Mapping[str, Any], place: Path, site: Site) -> Fetched:
    """Raises: StagingError, Canceled."""
    url = item["url"]
    try:
        transfer = transfer_for(url)
        if item.get("type") != "DIRECTORY":
            return Fetched({"": transfer.fetch_file(url, str(place), site)}, [])
        place.mkdir()
        files = transfer.fetch_directory(url, str(place), site)
    except OSError as error:
        raise StagingError(
            f"The gateway cannot store the input {item['path']}: {error.strerror or error}"
        ) from error
    empty = [
        os.path.relpath(folder, place)
        for folder, names, below in os.walk(place)
        if not names and not below and folder != str(place)
    ]
    return Fetched(files, sorted(empty))


def _entry(name: str, file: str | None, moved: Moved) -> dict[str, Any]:
    return {"name": name, "file": file, "size_bytes": moved.size_bytes, "sha256": moved.sha256}


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
