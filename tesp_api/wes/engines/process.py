"""An expander as a process, and the channel to it: a socket pair that is its standard input."""

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Mapping
from typing import Any

from tesp_api.wes.engines.sandbox import Launch

LINE_MAX_BYTES = 64 * 1024**2
"""Of one message; a step's document and a run's inputs are the longest."""

_TAIL_BYTES = 4000
_REAP_S = 10.0
_OUT_OF_TIME = (-signal.SIGXCPU, 128 + signal.SIGXCPU)
"""By itself, and as bubblewrap tells it."""


class ExpanderProcess:
    """Once started, it waits for what it is to do. Close it in the end."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._sending = asyncio.Lock()
        self._tail = b""

    async def start(self) -> None:
        """Raises: OSError if the machine does not start it."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._launch.argv,
                    stdin=theirs.fileno(),
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    env=dict(self._launch.environment),
                    cwd="/",
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                self._remove_group()
                raise
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=LINE_MAX_BYTES)
        self._listening = asyncio.create_task(self._listen())

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    async def aclose(self) -> None:
        """End it, and what it has started."""
        self._writer.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await asyncio.shield(self._bury())

    async def send(self, message: Mapping[str, Any]) -> None:
        """Does nothing if it has died."""
        data = json.dumps(message).encode() + b"\n"
        async with self._sending:
            with contextlib.suppress(ConnectionError):
                self._writer.write(data)
                await self._writer.drain()

    async def receive(self) -> dict[str, Any] | None:
        """Its next message; None if it has died, or says what is none."""
        try:
            line = await self._reader.readline()
            message = json.loads(line) if line else None
        except (ValueError, ConnectionError):
            return None
        return message if isinstance(message, dict) else None

    async def death(self) -> str:
        """How it has died, for people."""
        self._writer.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _REAP_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._listening), 1)
        if self._launch.group is not None and self._launch.group.ran_out_of_memory():
            return "the expansion of the workflow needs more memory than wes.sandbox.memory_gb allows"
        if self._process.returncode in _OUT_OF_TIME:
            return "the expansion of the workflow needs more processor time than wes.sandbox.cpu_s allows"
        said = self._tail.decode("utf-8", "replace").strip()
        code = self._process.returncode
        return (
            f"the process that expands the workflow has died (exit code {code}): {said or 'it said nothing'}"
        )

    async def _listen(self) -> None:
        """Keep the end of what it says on its stderr, which is not much unless it dies."""
        assert self._process.stderr is not None  # noqa: S101 - a pipe was asked for
        while data := await self._process.stderr.read(4096):
            self._tail = (self._tail + data)[-_TAIL_BYTES:]

    async def _bury(self) -> None:
        await self._process.wait()
        self._listening.cancel()
        self._remove_group()

    def _remove_group(self) -> None:
        if self._launch.group is not None:
            self._launch.group.remove()
