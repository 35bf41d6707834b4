"""A job that the scheduler at its site lets wait: its task's history says so, once for each reason."""

import time
from dataclasses import dataclass, field

from tesp_api.pulsar.base import JobState, JobStatus
from tesp_api.store.base import Changes, Claim, TaskStore

QUEUED = "waits for the scheduler at"
HELD = "is suspended, or queued once more, by the scheduler at"
_TOLD_AFTER_S = 2.0
"""Shorter waits are not worth a line."""


@dataclass(slots=True)
class HeldJob:
    """What is told of one job."""

    task_id: str
    claim: Claim
    job_id: str
    destination: str
    store: TaskStore
    _since: float | None = field(init=False, default=None)
    _told: set[str] = field(init=False, default_factory=set)

    async def tell(self, status: JobStatus, what: str) -> None:
        """Note that the job has the status; `what`, if it waits, is what happens to it.

        Raises:
            StoreUnavailable, ClaimLost: as they come.
        """
        if status.state is not JobState.WAITING:
            self._since = None
            return
        self._since = self._since or time.monotonic()
        if what not in self._told and time.monotonic() - self._since >= _TOLD_AFTER_S:
            self._told.add(what)
            reason = f"job {self.job_id} {what} {self.destination} ({status.detail})"
            await self.store.update(self.task_id, Changes(), claim=self.claim, reason=reason)
