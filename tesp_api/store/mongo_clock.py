"""What time it is, said so that the database server fills it in.

Several servers may share one MongoDB, and their clocks differ; the database has one. So times in changes
are expressions that its server evaluates (`$$NOW`), unless a test brings its own clock.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tesp_api.store.mongo_documents import to_micros

_SERVER_NOW = {"$multiply": [{"$toLong": "$$NOW"}, 1000]}


class MongoClock:
    """Expressions for points in time, in microseconds, for update pipelines and `$expr`."""

    def __init__(self, clock: Callable[[], datetime] | None) -> None:
        self._clock = clock

    def now(self) -> Any:
        """This moment: the database server's, to the millisecond, or that of the given clock."""
        return _SERVER_NOW if self._clock is None else to_micros(self._clock())

    def after(self, seconds: float) -> Any:
        """A moment so many seconds from now."""
        return {"$add": [self.now(), round(seconds * 1_000_000)]}

    def reached(self, field: str, ago_s: float = 0.0) -> dict[str, Any]:
        """The condition that the time in `field` came so long ago. The server uses an index for it."""
        before = self.after(-ago_s) if ago_s else self.now()
        return {"$expr": {"$lte": [f"${field}", before]}}
