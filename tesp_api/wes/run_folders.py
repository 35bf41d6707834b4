"""What a server keeps of its runs on its own disk, and can make anew.

That is what engines keep, and the attachments, where the storage of runs is elsewhere.
"""

import asyncio
import logging
import shutil
from pathlib import Path

from tesp_api.errors import RunNotFound, StorageUnavailable
from tesp_api.storage.work_files import WorkFiles
from tesp_api.storage.work_places import ATTACHMENTS
from tesp_api.store.run_states import RUN_FINAL
from tesp_api.store.runs import Run, RunStore

FOLDER = Path("wes", "runs")

_PIECES_BYTES = 1024**2
_log = logging.getLogger(__name__)


class RunFolders:
    """One folder for each run that this server drives."""

    def __init__(self, data_dir: Path, files: WorkFiles) -> None:
        self.folder = data_dir / FOLDER
        self._files = files

    async def prepare(self, run: Run) -> tuple[Path, Path]:
        """The folders of the run's attachments and of what its engine keeps, both there.

        Raises:
            StorageUnavailable: the attachments cannot be fetched, or there is no room for them.
        """
        try:
            return await self._prepare(run)
        except OSError as error:
            said = f"the folder of run {run.id} on the server cannot be made ready: {error}"
            raise StorageUnavailable(said) from error

    async def _prepare(self, run: Run) -> tuple[Path, Path]:
        work_dir = self.folder / run.id / "engine"
        await asyncio.to_thread(work_dir.mkdir, 0o700, True, True)
        url = f"{run.work_url}{ATTACHMENTS}"
        attachments = self._files.local(url) or self.folder / run.id / ATTACHMENTS
        if not await asyncio.to_thread(attachments.is_dir):
            await self._fetch(run, url, attachments)
        return attachments, work_dir

    async def remove(self, run_id: str) -> None:
        """Forget all that is here of a run."""
        await asyncio.to_thread(shutil.rmtree, self.folder / run_id, True)

    async def sweep(self, runs: RunStore) -> None:
        """Remove what earlier processes left of runs that have ended."""
        names = await asyncio.to_thread(lambda: [one.name for one in self.folder.glob("*")])
        for name in names:
            try:
                if (await runs.glance(name)).state not in RUN_FINAL:
                    continue
            except RunNotFound:
                pass
            await self.remove(name)

    async def _fetch(self, run: Run, url: str, attachments: Path) -> None:
        """Copy the attachments here; the folder appears whole."""
        partial = attachments.with_name(f"{attachments.name}.part")
        await asyncio.to_thread(shutil.rmtree, partial, True)
        await asyncio.to_thread(partial.mkdir, 0o700, True, True)
        try:
            found = await self._files.walk(url, owner=run.owner)
        except FileNotFoundError:
            found = []
        for one in found:
            to = partial / one.name
            if partial not in to.resolve().parents:
                raise StorageUnavailable(f"{one.url} cannot be the name of a file here")
            await asyncio.to_thread(to.parent.mkdir, 0o700, True, True)
            with to.open("wb") as file:
                pieces = self._files.read(one.url, owner=run.owner, offset=0, length=one.size_bytes)
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)
        await asyncio.to_thread(partial.rename, attachments)
