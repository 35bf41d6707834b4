"""Deletes tasks that ended long ago, where the settings say after how long."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tesp_api.errors import StoreUnavailable
from tesp_api.store.base import TaskStore
from tesp_api.store.runs import RunStore
from tesp_api.tes.times import now

_BATCH = 100
_SWEEP_MIN_S, _SWEEP_MAX_S = 1.0, 60.0
_PAUSE_MIN_S = 0.05

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Retention:
    """One per process; several may purge one store. `start` and `stop` belong to the same event loop."""

    store: TaskStore
    finished_age_s: float
    clock: Callable[[], datetime] = now
    runs: RunStore | None = None
    _loop: "asyncio.Task[None] | None" = field(init=False, default=None)

    async def start(self) -> None:
        """Begin to purge; returns at once."""
        self._loop = asyncio.create_task(self._purge_for_ever(), name="purge finished tasks")

    async def stop(self) -> None:
        """Purge no more; a batch that has begun is finished by the store, or not at all."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def sweep(self) -> int:
        """Delete every task and workflow run that ended longer ago than `finished_age_s`; returns how many.

        Runs first: a conductor removes what is theirs.

        In small batches, each followed by a pause at least as long as it took: whoever else writes to the
        store gets no less than half of its time.

        Raises:
            StoreUnavailable: what was deleted until then stays deleted.
        """
        ended_before = self.clock() - timedelta(seconds=self.finished_age_s)
        purged = await self.runs.doom_old(ended_before, limit=_BATCH) if self.runs else 0
        while True:
            began_at = time.monotonic()
            in_batch = await self.store.purge(ended_before, limit=_BATCH)
            purged += in_batch
            if in_batch < _BATCH:
                return purged
            await asyncio.sleep(max(_PAUSE_MIN_S, time.monotonic() - began_at))

    async def _purge_for_ever(self) -> None:
        pause_s = min(max(self.finished_age_s / 10, _SWEEP_MIN_S), _SWEEP_MAX_S)
        while True:
            try:
                if purged := await self.sweep():
                    _log.info(
                        "purged %d tasks and runs that ended over %g s ago", purged, self.finished_age_s
                    )
            except StoreUnavailable as error:
                _log.warning("finished tasks could not be purged: %s", error)
            except Exception:
                _log.exception("purging finished tasks failed")
            await asyncio.sleep(pause_s)
