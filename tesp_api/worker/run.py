"""What the worker does, top to bottom."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from .attempt import Attempt
from .cancellation import Cancellation
from .errors import BadOrder, Canceled, NotPermitted, SystemFailure
from .execution import plan_trial, run_executors
from .farewell import Farewell
from .job import JobDirectory, now
from .mounts import plan_mounts
from .order import Order, Site, parse_order
from .outputs import stage_out
from .parallel import Background
from .permits import Permits
from .process import pid_started
from .record import Record
from .removal import Held, remove_for_certain
from .result import EXECUTOR_ERROR, SYSTEM_ERROR, Result, describe_unforeseen
from .runtimes import choose_runtime
from .staging import check_disk, settle_rooted, stage_in
from .sweep import sweep
from .transfer import Site as TransferSite
from .transfer import transfer_for
from .transfer.lending import Lender, NoLender
from .view import View
from .watchdog import Watchdog, start_watchdog

if TYPE_CHECKING:
    from .transfer.guard import Guard


def main(arguments: list[str]) -> int:
    """Run the attempt in the job directory `arguments[0]`; 0 whenever there is a result to read."""
    job = JobDirectory(arguments[0])
    job.close_to_others()
    who = {"pid": os.getpid(), "pid_started": pid_started(), "host": os.uname().nodename, "at": now()}
    worker = os.urandom(16).hex()
    if not job.claim({**who, "worker": worker}):
        print("Another worker has begun this job.")
        return 0
    watchdog = start_watchdog(job.task)
    farewell = Farewell()
    result = Result(worker)
    record = Record(job, "", Site().heartbeat_s, None)
    removals: list[Background] = []
    goes_home = False
    try:
        order = _read_order(job)
        goes_home = order.site.home
        record = Record(job, order.job_id, order.site.heartbeat_s, order.site.bell, _reporter(order, job))
        record.start()
        farewell.walltime_s = order.site.walltime_s
        _run_attempt(order, job, record, result, watchdog, removals)
    except Canceled as error:
        result.cancel(str(error))
    except SystemFailure as error:
        result.end(SYSTEM_ERROR, str(error), error.cause)
        if isinstance(error, NotPermitted):  # nobody may be left who removes this job
            with contextlib.suppress(OSError):
                os.remove(job.order)
    except BaseException as error:
        result.end(SYSTEM_ERROR, describe_unforeseen(error), SystemFailure.cause)
    farewell.ignore()
    code = _finish(job, record, result, watchdog, removals)
    if goes_home:
        from .home import write_home

        with contextlib.suppress(OSError):  # what is not there is asked for
            write_home(job)
    return code


def _run_attempt(
    order: Order,
    job: JobDirectory,
    record: Record,
    result: Result,
    watchdog: Watchdog,
    removals: list[Background],
) -> None:
    cancellation = Cancellation(job.cancel)
    cancellation.check()
    record.event("initializing")
    permits = Permits(order, result.worker, cancellation, record.message)
    permits.begin_early()
    attempt = _prepare(order, job, record, result, watchdog, cancellation)
    stage_in(attempt)
    permits.start()

    def meanwhile() -> None:
        for output in order.outputs:
            transfer_for(output.url)  # imports it
        sweep(attempt.runtime)

    try:
        failure = run_executors(attempt, removals, meanwhile)
    except BaseException:
        with contextlib.suppress(SystemFailure):
            attempt.runtime.reclaim(job.task)
        raise
    attempt.runtime.reclaim(job.task)
    record.event("staging_out")
    if failure is None:
        permits.commit()
        stage_out(attempt, tolerant=False)
        return
    result.end(EXECUTOR_ERROR, failure, "executor")
    try:
        permits.commit()
        stage_out(attempt, tolerant=True)
    except SystemFailure as error:
        record.message(str(error))


def _read_order(job: JobDirectory) -> Order:
    try:
        with open(job.order, encoding="utf-8") as file:
            return parse_order(json.load(file))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadOrder(f"Cannot read task.json: {type(error).__name__}: {error}") from error


def _prepare(
    order: Order,
    job: JobDirectory,
    record: Record,
    result: Result,
    watchdog: Watchdog,
    cancellation: Cancellation,
) -> Attempt:
    """Choose the runtime and plan the mounts. Raises: SystemFailure."""
    os.makedirs(job.tree, mode=0o700, exist_ok=True)
    runtime = choose_runtime(order.site, job.task, cancellation, record.message)
    result.metadata["runtime"] = runtime.description
    warning = check_disk(order, job.path)
    for line in (*runtime.notes, *([warning] if warning else [])):
        record.message(line)
    trial = plan_trial(order, watchdog, runtime, cancellation)
    order, rooted = settle_rooted(order, runtime, trial, record.message)
    plan = plan_mounts(order, job.tree, rooted)
    runtime.check_captures((*plan.captures, *plan.capture_patterns))
    lender = _lender(order, cancellation, record)
    site = order.site
    transfers = TransferSite(
        site.file_roots, cancellation, record.message, site.transfers, lender, lambda: _guard(site)
    )
    view = View(plan.binds)
    return Attempt(order, job, record, result, cancellation, watchdog, runtime, plan, view, transfers)


def _guard(site: Site) -> Guard:
    from .transfer.guard import Guard

    return Guard(**site.rules)


def _lender(order: Order, cancellation: Cancellation, record: Record) -> Lender:
    """Modules are imported for the tasks that need them."""
    if order.channel is not None:
        from .channel import Channel

        return Channel(order.channel, cancellation, record.message)
    if order.lent is not None:
        from .transfer.lent_beforehand import LentBeforehand

        return LentBeforehand(order.lent)
    return NoLender()


def _reporter(order: Order, job: JobDirectory) -> Any:
    if order.report is None:
        return None
    from .report import Reporter

    return Reporter(order.report, job, order.site)


def _finish(
    job: JobDirectory, record: Record, result: Result, watchdog: Watchdog, removals: list[Background]
) -> int:
    """Remove the task's files, say how it ended, and only then wait for containers that are being removed.

    The space of large files is freed last, unless the result needs it.
    """
    held = Held()
    for _ in range(2):  # a transfer that was given up on may still have made a file
        gone = remove_for_certain(job.task, held)
    if not gone:
        with contextlib.suppress(OSError):
            record.message(f"Some of the task's files could not be removed from {job.task}")
    job.use_reserve()
    try:
        try:
            result.write(job, record.system_logs)
        except OSError:  # the disk is full
            held.let_go()
            result.write(job, record.system_logs)
        record.event("ended", state=result.state)
        record.finish()
        written = True
    except OSError as error:
        print(f"Cannot write the result: {error.strerror}")
        written = False
    patience = Cancellation(os.devnull + "/never")
    for removal in removals:
        with contextlib.suppress(Exception):  # the next sweep removes what is left
            removal.join(patience)
    watchdog.dismiss()
    return 0 if written else 1
