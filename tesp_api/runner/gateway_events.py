"""How far the gateway's transfers are: events beside those of the attempt's worker."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from tesp_api.errors import ClaimLost, StoreUnavailable
from tesp_api.store.base import Claim, TaskStore
from tesp_api.worker.job import encode_json, now
from tesp_api.worker.progress import Progress

MOST_BYTES = 1024**2
"""Of one attempt; what comes after that is not told."""

_EVERY_S = 1.0


@dataclass(slots=True)
class GatewayEvents:
    """One attempt's. They are hints for whoever waits: what cannot be stored is forgotten."""

    store: TaskStore
    claim: Claim
    attempt: int
    _lines: list[bytes] = field(init=False, default_factory=list)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    @contextlib.asynccontextmanager
    async def telling(self) -> AsyncIterator[Progress]:
        """What is watched in here is told of, as a worker does."""
        progress, over = Progress(self._tell), asyncio.Event()
        keeping = asyncio.ensure_future(self._keep_until(over))
        try:
            yield progress
        finally:
            progress.close()
            over.set()  # no cancel: what is just being stored would be lost
            await asyncio.gather(keeping, return_exceptions=True)
            await self._keep()

    def _tell(self, event: str, **fields: Any) -> None:
        """Also from other threads."""
        with self._lock:
            self._lines.append(encode_json({"at": now(), "event": event, **fields}) + b"\n")

    async def _keep_until(self, over: asyncio.Event) -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S):
                    await over.wait()
            await self._keep()

    async def _keep(self) -> None:
        with self._lock:
            data, self._lines = b"".join(self._lines), []
        if not data:
            return
        with contextlib.suppress(ClaimLost, StoreUnavailable):
            size_bytes = await self.store.log_size(self.claim.task_id, self.attempt, 0, "gateway")
            if size_bytes + len(data) <= MOST_BYTES:
                await self.store.append_log(self.claim, self.attempt, 0, "gateway", size_bytes, data)
