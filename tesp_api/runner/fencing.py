"""Fencing: what a process must not do at a site any more once another one drives the task.

The store refuses its writes, but no site does. A process that was stopped for a while, and goes on where it
was, may be about to stop a job for reasons that are long past. So it looks at its claim before it does.
Between that look and the deed remains the time of a request: `docs/decisions.md` says what may happen then.
"""

import time
from dataclasses import dataclass, field

from tesp_api.errors import ClaimLost
from tesp_api.store.base import Claim, TaskStore


async def check_claim(store: TaskStore, claim: Claim) -> None:
    """Return if the claim is the task's present one.

    Raises:
        ClaimLost: it is not.
        TaskNotFound, StoreUnavailable: as they come.
    """
    held = (await store.get(claim.task_id)).claim
    if held is None or (held.owner, held.epoch) != (claim.owner, claim.epoch):
        raise ClaimLost(claim.task_id)


@dataclass(slots=True)
class Fence:
    """For what is done often: looks again only when the last look is so old that the lease might be over."""

    store: TaskStore
    claim: Claim
    lease_s: float
    _looked_at: float = field(init=False, default_factory=time.monotonic)

    async def check(self) -> None:
        """As `check_claim`."""
        if time.monotonic() - self._looked_at >= self.lease_s / 3:
            await check_claim(self.store, self.claim)
            self._looked_at = time.monotonic()
