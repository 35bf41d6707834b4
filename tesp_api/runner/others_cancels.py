"""Cancels that other servers were asked for: where several share the store, no bell rings for them here."""

import asyncio
import logging
import time
from collections.abc import Callable

from tesp_api.errors import StoreUnavailable
from tesp_api.store.base import TaskStore

_log = logging.getLogger(__name__)

LOOK_S = 1.0
_REST = 20
"""What a look costs is at most a twentieth of the store's time, however many tasks are being canceled."""


async def ring_for_cancels(store: TaskStore, owner: str, ring: Callable[[str], None]) -> None:
    """Ring once for each task of `owner` whose cancel was asked for, wherever that was; without end."""
    known: frozenset[str] = frozenset()
    while True:
        began_at = time.monotonic()
        try:
            canceling = await store.list_canceling(owner)
        except StoreUnavailable as error:
            _log.debug("cancels cannot be looked for: %s", error)
        except Exception:
            _log.exception("looking for cancels failed")
        else:
            for task_id in canceling - known:
                ring(task_id)
            known = canceling
        await asyncio.sleep(max(LOOK_S, _REST * (time.monotonic() - began_at)))
