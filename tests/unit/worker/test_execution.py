"""A container whose start cannot be written down is ended again."""

import os
import signal
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from tesp_api.worker.execution import _run_container
from tesp_api.worker.runtimes.base import Launch

KILLED: list[int] = []


class Runtime:
    reclaiming_program = None

    def launch(self, run: Any) -> Launch:
        return Launch(["sleep", "600"], {}, [])

    def kill(self, run: Any, pid: int | None) -> None:
        if pid is not None:
            KILLED.append(pid)
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def remove(self, run: Any) -> None: ...


class FullDisk:
    system_logs: tuple[str, ...] = ()

    def event(self, name: str, **fields: Any) -> None:
        raise OSError(28, "No space left on device")


def test_an_executor_whose_start_cannot_be_told_does_not_run_on() -> None:
    attempt: Any = SimpleNamespace(
        runtime=Runtime(),
        record=FullDisk(),
        result=SimpleNamespace(begun=0, executors=[]),
        watchdog=SimpleNamespace(guard=lambda *_: None),
    )
    log = SimpleNamespace(total_bytes=0, dropped_bytes=0)
    streams: Any = SimpleNamespace(stdin=None, stdout=log, stderr=log)
    run: Any = SimpleNamespace(name="one")
    with pytest.raises(OSError, match="No space left"):
        _run_container(attempt, 0, run, streams, [], lambda: None, {"exit_code": 137, "started_at": ""})
    with pytest.raises(ProcessLookupError):
        os.kill(KILLED[0], 0)
