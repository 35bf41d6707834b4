"""Workers that are killed, as by the kernel for want of memory, alone or with their watchdogs."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from tesp_api.pulsar.processes import all_pids
from tests.acceptance.faults.cast import Cast
from tests.acceptance.faults.courses import Tracked
from tests.acceptance.faults.fittings import fitted
from tests.acceptance.faults.scenario import ALL, Absence, Scenario, Stage
from tests.acceptance.faults.worlds import KINDS, World, WorldKind
from tests.services.tesp import poll

FAULTS = ("worker killed", "worker and watchdog killed")
SQLITE_EMBEDDED_DOCKER = WorldKind("sqlite", "embedded", runtime="docker")
SQLITE_REST_DOCKER = WorldKind("sqlite", "rest", runtime="docker")
WORLDS = (*KINDS, SQLITE_EMBEDDED_DOCKER, SQLITE_REST_DOCKER)
LOST = ("initializing", "running", "between executors", "staging out", "ended")
NO_WORKER = ("queued", "launch", "cleaning", "retired", "between attempts")
_FITTED = {kind: fitted(kind) for kind in WORLDS}


def scenarios() -> Iterator[Scenario]:
    for kind in WORLDS:
        yield Scenario(FAULTS[0], ALL, _FITTED[kind], _kill_workers, end_within_s=120)
        yield Scenario(FAULTS[1], ALL, _FITTED[kind], _kill_workers_and_watchdogs, end_within_s=120)


def absences() -> Iterator[Absence]:
    for fault in FAULTS:
        for phase in NO_WORKER:
            yield Absence(fault, phase, "*", "there is no worker then")


def _kill_workers(stage: Stage) -> None:
    _kill(stage, watchdogs=False)


def _kill_workers_and_watchdogs(stage: Stage) -> None:
    """Containers stay until another worker of the site sweeps: those of the tasks that come next."""
    _kill(stage, watchdogs=True)


def _kill(stage: Stage, *, watchdogs: bool) -> None:
    world = stage.world
    expected = {phase: ("SYSTEM_ERROR",) for phase in LOST if not _is_known_not_to_have_begun(world, phase)}
    cast = Cast(world, expected)
    cast.enter()
    stage.cast = {phase: task for phase, task in cast.tasks.items() if phase not in NO_WORKER}
    try:
        processes = [workers_of(world, task) for task in stage.cast.values()]
        cast.cancel()
        for worker, watchdog in processes:
            for pid in (watchdog, worker) if watchdogs else (worker,):
                with contextlib.suppress(ProcessLookupError):  # of the one that was canceled
                    os.kill(pid, signal.SIGKILL)
        for phase in expected:
            poll(lambda: world.has_ended(cast.tasks[phase]), timeout_s=90, why=f"{phase} is not lost")  # noqa: B023
            _assert_lost(world, cast.tasks[phase])
    finally:
        cast.go_on()


def _is_known_not_to_have_begun(world: World, phase: str) -> bool:
    """Where workers ask before they begin, what had not asked yet gets another attempt, and goes on."""
    return world.kind.asks and phase == "initializing"


def _assert_lost(world: World, task: Tracked) -> None:
    (log,) = world.server.get(task.id)["logs"]
    assert log["metadata"]["cause"] == "lost", log
    assert "vanished without a result" in log["system_logs"][-1], log


def workers_of(world: World, task: Tracked) -> tuple[int, int]:
    """The process ids of a task's worker and of its watchdog, which waits for the end of a pipe from it."""
    metadata = world.staging / f"{task.id}-1" / "metadata" / "tesp"
    worker = int(json.loads((metadata / "started").read_text())["pid"])
    pipes, command = set(_pipes(worker)), _command(worker)
    watchdogs = [
        pid
        for pid in all_pids()
        if pid != worker and _command(pid) == command and pipes & set(_pipes(pid)) and _has_left(pid)
    ]
    (watchdog,) = watchdogs
    return worker, watchdog


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _has_left(pid: int) -> bool:
    """Whether the process is in no folder, as a watchdog, which is a copy of its worker otherwise."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    return False


def _pipes(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("pipe:"):
                    yield target
