"""Execution: one executor in its container, from its command to its exit code."""

from __future__ import annotations

import contextlib
import os
import posixpath
import signal
import subprocess
import time
from typing import Any, Callable

from .attempt import Attempt
from .cancellation import Cancellation
from .errors import SystemFailure
from .job import make_directories, now
from .order import Executor, Order
from .parallel import Background
from .process import worker_label
from .runtimes.base import Outcome, Process, Run, Runtime, start
from .streams import Streams
from .watchdog import Watchdog

KILLED_EXIT_CODE = 137
KILL_TRIES = 20
SITE_SIGNAL_S = 1.0
"""A site that ends a job signals its processes one by one: the worker's turn may be after its executor's."""


def run_executors(attempt: Attempt, removals: list[Background], meanwhile: Callable[[], None]) -> str | None:
    """Run the executors in order, up to the first one that fails and may not; says why if one did.

    `removals` gets the containers' removals, which go on meanwhile. `meanwhile` is called
    in another thread when the first executor runs: the worker has time then.

    Raises: SystemFailure, Canceled.
    """
    for number, executor in enumerate(attempt.order.executors):
        attempt.cancellation.check()
        exit_code = _run_executor(attempt, number, executor, removals, meanwhile)
        if exit_code != 0:
            reason = f"Executor {number} ({executor.image}) ended with exit code {exit_code}"
            if not executor.ignore_error:
                return reason
            attempt.record.message(f"{reason}; ignored, as its ignore_error says")
    return None


def _run_executor(
    attempt: Attempt,
    number: int,
    executor: Executor,
    removals: list[Background],
    meanwhile: Callable[[], None],
) -> int:
    run = plan_run(attempt, number, executor)
    _check_mounts(attempt, executor)
    with Streams(attempt, number, executor) as streams:
        entry: dict[str, Any] = {"exit_code": KILLED_EXIT_CODE, "started_at": now(), "ended_at": now()}
        outcome = _run_container(attempt, number, run, streams, removals, meanwhile, entry)
        for note in outcome.notes:
            attempt.record.message(note)
        entry["exit_code"] = outcome.exit_code
        _end_executor(attempt, number, streams, entry)
    return outcome.exit_code


def _end_executor(attempt: Attempt, number: int, streams: Streams, entry: dict[str, Any]) -> None:
    entry["stdout_bytes"] = streams.stdout.total_bytes
    entry["stderr_bytes"] = streams.stderr.total_bytes
    attempt.result.executors.append(entry)
    attempt.record.event("executor_ended", executor=number, **entry)
    for log in (streams.stdout, streams.stderr):
        if log.dropped_bytes:
            attempt.record.message(
                f"Left {log.dropped_bytes} bytes out of the middle of {log.name}: the log is full"
            )


def _run_container(
    attempt: Attempt,
    number: int,
    run: Run,
    streams: Streams,
    removals: list[Background],
    meanwhile: Callable[[], None],
    entry: dict[str, Any],
) -> Outcome:
    runtime = attempt.runtime
    launch = runtime.launch(run)
    for note in launch.notes:
        if note not in attempt.record.system_logs:
            attempt.record.message(note)
    attempt.watchdog.guard(launch.on_death, None, runtime.reclaiming_program)
    attempt.result.begun = number + 1
    try:
        process = start(launch, streams.stdin)
        entry["started_at"] = now()
        try:
            attempt.watchdog.guard(launch.on_death, process.pid, runtime.reclaiming_program)
            attempt.record.event("executor_started", executor=number)
            if number == 0:
                Background(meanwhile)
            returncode = streams.pump(process)
            if returncode in (-signal.SIGTERM, 128 + signal.SIGTERM):
                time.sleep(SITE_SIGNAL_S)  # the signal ends it
        except BaseException:  # a cancel, the site's SIGTERM, a full disk: what it wrote so far is shown
            _kill(attempt, run, process)
            entry["ended_at"] = now()
            with contextlib.suppress(OSError):
                _end_executor(attempt, number, streams, entry)
            raise
        entry["ended_at"] = now()
        outcome = runtime.outcome(run, returncode, streams.stderr_tail)
        if attempt.plan.captures or attempt.plan.capture_patterns:  # few tasks have any
            from . import captures

            captures.fetch(attempt, run)
        return outcome
    finally:
        attempt.watchdog.guard(launch.on_death, None, runtime.reclaiming_program)
        removals.append(Background(lambda: runtime.remove(run)))


def _kill(attempt: Attempt, run: Run, process: Process) -> None:
    """Kill until the process that stands for the container ends: it may still be creating it."""
    for _ in range(KILL_TRIES):
        attempt.runtime.kill(run, process.pid)
        try:
            process.wait(timeout=0.5)
            break
        except subprocess.TimeoutExpired:
            continue
    else:
        process.kill()
        process.wait()
    attempt.runtime.kill(run, None)


def _check_mounts(attempt: Attempt, executor: Executor) -> None:
    """Make the workdir where it is ours, and see that no executor put a link where something is mounted.

    Raises: SystemFailure.
    """
    attempt.check_sources()
    view = attempt.view
    for bind in view.binds:
        if view.resolve(posixpath.dirname(bind.target)) != posixpath.dirname(bind.target):
            raise SystemFailure(f"An executor put a symlink on the way to the mounted {bind.target}")
    if executor.workdir:
        resolved = view.resolve(executor.workdir)
        host, holder = view.host_path(resolved), view.bind_of(resolved)
        if host and holder and holder.writable and not holder.is_file:
            with contextlib.suppress(OSError):  # another user's directory; the runtime tries next
                make_directories(host)


def plan_run(attempt: Attempt, number: int, executor: Executor) -> Run:
    """The container of one executor; limits are cut to what the machine has."""
    order = attempt.order
    cores = order.resources.cpu_cores
    machine = os.cpu_count() or 1
    if cores and cores > machine and number == 0:
        attempt.record.message(
            f"The task asks for {cores} CPU cores; this machine has {machine}, and it gets those"
        )
    ram = order.resources.ram_gb
    return Run(
        name=f"tesp-{order.job_id}-{number}",
        labels=labels_of(order),
        image=executor.image,
        command=executor.command,
        workdir=executor.workdir,
        env=executor.env,
        with_stdin=executor.stdin is not None and executor.stdin != "/dev/null",
        binds=tuple(bind for bind in attempt.view.binds if bind.is_mounted),
        network=order.site.network,
        confinement=order.site.confinement,
        cpus=min(cores, machine) if cores else None,
        memory_bytes=int(ram * 1e9) if ram else None,
        **attending(attempt.watchdog, attempt.runtime, attempt.cancellation),
    )


def plan_trial(order: Order, watchdog: Watchdog, runtime: Runtime, cancellation: Cancellation) -> Run:
    """What is no executor's container, but shows whether one could have its mounts."""
    name, more = f"tesp-{order.job_id}-try", attending(watchdog, runtime, cancellation)
    return Run(name, labels_of(order), "", (), None, {}, False, (), "none", None, None, **more)


def labels_of(order: Order) -> dict[str, str]:
    """By which containers are found."""
    return {
        "tesp.task": order.task_id,
        "tesp.attempt": str(order.attempt),
        "tesp.job": order.job_id,
        "tesp.worker": worker_label(),
        **({"tesp.request": order.request_id} if order.request_id else {}),
    }


def attending(watchdog: Watchdog, runtime: Runtime, cancellation: Cancellation) -> dict[str, Any]:
    """Who sees to a `Run` that is prepared."""
    return {
        "guard": lambda commands, pid: watchdog.guard(commands, pid, runtime.reclaiming_program),
        "check": cancellation.check,
    }
