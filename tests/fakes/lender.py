"""A lender for tests whose tasks need no storage."""

from tesp_api.runner.lending import NOTHING, Lent
from tesp_api.store.base import Task


class LendsNothing:
    """Implements `Lender`."""

    async def lend(self, task: Task, destination: str) -> Lent:
        return NOTHING

    def gives_permits(self, destination: str) -> bool:
        return False
