"""A spare expander: one that has imported its engine and waits for a run, so that a run begins at once."""

import asyncio
import contextlib
import logging
import secrets

from tesp_api.errors import EngineUnusable
from tesp_api.wes.engines.process import ExpanderProcess
from tesp_api.wes.engines.sandbox import Sandbox

_log = logging.getLogger(__name__)

_PAUSE_S = 2.0
"""After one was taken: the run that got it goes first."""


class Spares:
    """Gives processes for runs. Between `open` and `aclose` it keeps one ready, where the engine can run."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._spare: ExpanderProcess | None = None
        self._making: asyncio.Task[None] | None = None
        self._keeps = False
        self._closing = asyncio.Event()

    async def open(self) -> None:
        """Make one ready meanwhile."""
        self._keeps = True
        self._closing.clear()
        self._make_soon(0.0)

    async def aclose(self) -> None:
        """End the one that waits."""
        self._keeps = False
        self._closing.set()
        if self._making is not None:
            await self._making
        if self._spare is not None:
            spare, self._spare = self._spare, None
            await spare.aclose()

    async def take(self) -> ExpanderProcess:
        """A process for one run, the caller's to close.

        Raises:
            EngineUnusable: the engine is not installed, or must not run here.
        """
        spare, self._spare = self._spare, None
        self._make_soon(_PAUSE_S)
        if spare is not None and spare.is_alive:
            return spare
        if spare is not None:
            await spare.aclose()
        return await self._start()

    def _make_soon(self, pause_s: float) -> None:
        if self._keeps and (self._making is None or self._making.done()):
            self._making = asyncio.create_task(self._make(pause_s))

    async def _make(self, pause_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), pause_s)
        if self._closing.is_set() or self._spare is not None:
            return
        try:
            self._spare = await self._start()
        except EngineUnusable:  # as the run that wants it is told
            return
        except Exception as error:
            _log.warning("no expander can be kept ready: %s: %s", type(error).__name__, error)

    async def _start(self) -> ExpanderProcess:
        """For nobody yet: what it is called, and which user it is, tell nothing of a run."""
        launch = await asyncio.to_thread(self._sandbox.launch, secrets.token_hex(8))
        process = ExpanderProcess(launch)
        await process.start()
        return process
