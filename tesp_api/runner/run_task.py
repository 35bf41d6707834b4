"""One task, from wherever it stands to its end. Read this first to understand the runner."""

import asyncio
import contextlib
import logging
import math
from dataclasses import replace

from tesp_api.errors import AttemptBegun, JobLost, PulsarRefused, StagingRefused, TransitionRefused
from tesp_api.runner.attempt_log import STOPPED_FOR, AttemptLog, Ending
from tesp_api.runner.fencing import check_claim
from tesp_api.runner.follow_job import FollowJob, NeverStarted
from tesp_api.runner.gateway import Passage
from tesp_api.runner.gateway_inputs import GatewayInputs
from tesp_api.runner.gateway_outputs import GatewayOutputs
from tesp_api.runner.job_plan import job_id_of, plan_job
from tesp_api.runner.lending import NOTHING
from tesp_api.runner.retries import (
    NEXT_ATTEMPT_AT,
    Again,
    another,
    is_given_up,
    judged,
    may_come_late,
    needs_place,
)
from tesp_api.runner.surroundings import Surroundings
from tesp_api.store.base import Changes, Claim, Job, Revocation, Task
from tesp_api.tes.states import FINAL, State, route
from tesp_api.tes.times import now, rfc3339

_log = logging.getLogger(__name__)


async def run_task(task: Task, around: Surroundings) -> bool:
    """Drive one claimed task to its end, or to that of an attempt which another one is to follow.

    1. give it a job: the attempt and the job's id are stored before anything is sent
    2. where a gateway serves the site, bring the inputs; send the outputs before the end
    3. follow the job: launch it unless its worker has started; states, logs and a cancel are passed on
    4. if the attempt failed and the task gets another one, store when that may begin: `needs_place` then.
       If nothing was to have run of it, but a worker has been permitted to start meanwhile, it goes on
    5. store the end: the final state, the logs and the outputs in one step
    6. clean up at the site
    7. retire the task

    Returns whether the task is retired; if not, call it again with the task as it is then. May be called
    again after any failure, also by another process: each step finds out what has been done already.

    Raises:
        PulsarUnavailable, StoreUnavailable: call again later.
        ClaimLost: another process drives the task now.
    """
    claim = _claim_of(task)
    if task.state not in FINAL:
        if task.state is State.CANCELING and (task.job is None or is_given_up(task)):
            reason = "canceled before it had a job" if task.job is None else "canceled between two attempts"
            await _store_end(task, claim, around, Ending(State.CANCELED, reason), None)
        else:
            is_new = needs_place(task)
            if is_new:
                task = await _begin_attempt(task, claim, around)
            elif _asks_in_vain(task, around):
                task = await _ask_no_more(task, claim, around)
            log = _new_log(task)
            ending = judged(task, await _run_attempt(task, claim, around, log, is_new), around.settings)
            try:
                has_ended = await _conclude(task, claim, around, ending, log)
            except AttemptBegun as error:
                _log.warning("task %s is looked at again: %s", task.id, error)
                if not ending.worker:
                    return False
                # the job that we see has ended, and the one that has begun cannot be seen
                lost = Ending(State.SYSTEM_ERROR, f"{ending.reason}; {error}", "lost")
                has_ended = await _conclude(task, claim, around, lost, log)
            _count_attempt(task, around, log)
            if not has_ended:
                return False
    await _finish(task, claim, around)
    return True


async def _conclude(task: Task, claim: Claim, around: Surroundings, ending: Ending, log: AttemptLog) -> bool:
    """Store how the attempt ended; whether that is the task's end, too.

    Raises:
        AttemptBegun: a worker was permitted to start meanwhile, so it has not ended as was thought.
    """
    again = another(task, ending, around.settings.retries, now())
    if again is not None and await _give_up(task, claim, around, ending, again, log):
        return False
    await _store_end(task, claim, around, ending, log)
    return True


def _count_attempt(task: Task, around: Surroundings, log: AttemptLog) -> None:
    """Its end is stored, so this driver does not come here once more for it."""
    if task.job is not None:
        created_at = task.created_at if task.attempt == 1 else None
        around.metrics.attempt_ended(task.job.destination, log.timeline, created_at=created_at)


async def _finish(task: Task, claim: Claim, around: Surroundings) -> None:
    """Leave nothing of an ended task at the site; its place is free from its end on."""
    around.leave()
    if is_given_up(task):
        await close_job(task, around)
    elif task.job is not None:
        await _clean(task.job, around)
    await around.store.retire(claim)


async def abandon_task(task: Task, around: Surroundings, error: Exception) -> None:
    """End a task that cannot be driven on because of a fault of our own: SYSTEM_ERROR, its job killed."""
    claim = _claim_of(task)
    log = _new_log(task) if task.job is not None else None
    if task.job is not None and around.reaches(task.job):
        await check_claim(around.store, claim)
        with contextlib.suppress(PulsarRefused):  # nothing there that we could end
            await around.transport_to(task.job.destination).cancel(task.job.job_id)
    reason = f"internal error of the server, {type(error).__name__}: {error} (its log says more)"
    await _store_end(task, claim, around, Ending(State.SYSTEM_ERROR, reason), log)


async def refuse_task(task: Task, around: Surroundings, reason: str) -> None:
    """End a task that is to have no (further) attempt: SYSTEM_ERROR. Its log says why, job or not."""
    claim = _claim_of(task)
    log = AttemptLog({}) if task.job is None else _new_log(task)
    await _store_end(task, claim, around, Ending(State.SYSTEM_ERROR, reason), log)
    await _finish(task, claim, around)


async def close_job(task: Task, around: Surroundings) -> None:
    """Remove a given-up attempt's job, so that nothing of it runs, or begins to, when the next one does.

    May be repeated.

    Raises:
        PulsarUnavailable: it cannot be known; call again.
    """
    if task.job is None or not around.reaches(task.job):
        return
    transport = around.transports.get(task.job.destination)
    if transport is not None:
        with contextlib.suppress(PulsarRefused):  # there is no such job, so nothing that could still begin
            await transport.write_file(task.job.job_id, "cancel", b"")
    await _clean(task.job, around)


async def _run_attempt(
    task: Task, claim: Claim, around: Surroundings, log: AttemptLog, is_new: bool
) -> Ending:
    """Follow the attempt's job, whatever becomes of it; of a new one nothing has been sent yet."""
    if task.job is not None and not around.reaches(task.job):
        return _left_behind(task, task.job, around, log)
    try:
        return await _follow(task, claim, around, log, is_new)
    except NeverStarted as reason:
        message = f"the job ended before the worker began: {reason}"
        may_come = reason.is_unknown and may_come_late(task, around.settings)
        cause = "lost" if may_come else "never_started"
    except JobLost as error:
        stored = await around.store.get(task.id)
        may_have_run = stored.permit is not None or stored.job is None or not stored.job.asks
        return Ending(State.SYSTEM_ERROR, str(error), "lost", may_have_run)
    except (PulsarRefused, StagingRefused) as error:
        return Ending(State.SYSTEM_ERROR, str(error))
    state = await around.store.get_state(task.id)
    if state is State.CANCELING:
        return Ending(State.CANCELED, "canceled before the worker began")
    if passed := log.metadata.get(STOPPED_FOR) or await around.deadlines.passed(state):
        return Ending(State.SYSTEM_ERROR, passed)
    return Ending(State.SYSTEM_ERROR, message, cause, may_have_run=cause == "lost")


def _left_behind(task: Task, job: Job, around: Surroundings, log: AttemptLog) -> Ending:
    """How an attempt ends whose job is in the Pulsar of another server that has been away for too long."""
    away_s = around.settings.scheduler.embedded_away_s
    reason = f"job {job.job_id} is in the embedded Pulsar of a server that has been away for {away_s:g} s"
    if task.state is State.CANCELING:
        return Ending(State.CANCELED, f"canceled; {reason}")
    if passed := log.metadata.get(STOPPED_FOR):
        return Ending(State.SYSTEM_ERROR, f"{passed}; {reason}")
    if job.asks and task.permit is None:
        return Ending(State.SYSTEM_ERROR, reason, "never_started", may_have_run=False)
    return Ending(State.SYSTEM_ERROR, reason, "lost")


async def _give_up(
    task: Task, claim: Claim, around: Surroundings, ending: Ending, again: Again, log: AttemptLog
) -> bool:
    """Close the attempt's log, which announces the next one, and queue the task; False if it is canceled."""
    log = replace(log, metadata=log.metadata | again.as_metadata(), system_logs=list(log.system_logs))
    log.close(rfc3339(now()), ending.reason)
    log.system_logs.append(again.told)
    changes = Changes(log=log.as_json(), revokes=_revocation(ending))
    reason = f"{ending.reason}; {again.told}"
    try:
        if await around.store.get_state(task.id) is State.QUEUED:
            await around.store.update(task.id, changes, claim=claim, reason=reason)
        else:
            await around.store.transition(task.id, State.QUEUED, claim=claim, reason=reason, changes=changes)
    except TransitionRefused:
        return False
    if task.job is not None:
        around.metrics.retried(task.job.destination, again.cause)
        around.metrics.entered(task.id, State.QUEUED)
    return True


async def _begin_attempt(task: Task, claim: Claim, around: Surroundings) -> Task:
    attempt = task.attempt + 1
    place = around.place
    if place.destination is None:
        raise ValueError(f"task {task.id} has no place")
    is_embedded = around.settings.destinations[place.destination].kind == "embedded"
    job = Job(
        place.destination,
        job_id_of(task.id, attempt),
        server=around.server if is_embedded else "",
        asks=around.lender.gives_permits(place.destination),
    )
    reason = f"attempt {attempt} goes to {job.destination} as job {job.job_id}"
    reason += f" ({place.why})" if place.why else ""
    begun = await around.store.update(task.id, Changes(attempt=attempt, job=job), claim=claim, reason=reason)
    around.metrics.placed(task.id, job.destination)
    return begun


def _asks_in_vain(task: Task, around: Surroundings) -> bool:
    """Whether a worker that is sent now would have nobody to ask for permits, though its job is to ask."""
    if task.job is None or not task.job.asks or task.state is not State.QUEUED or task.permit is not None:
        return False
    destination = task.job.destination
    return destination in around.settings.destinations and not around.lender.gives_permits(destination)


async def _ask_no_more(task: Task, claim: Claim, around: Surroundings) -> Task:
    """Before it is sent: from then on the lack of a permit proves nothing."""
    assert task.job is not None  # noqa: S101 - only called for a task that has one
    reason = f"the settings have no channel any more where job {task.job.job_id} could ask for permits"
    changes = Changes(job=replace(task.job, asks=False))
    return await around.store.update(task.id, changes, claim=claim, reason=reason)


async def _follow(task: Task, claim: Claim, around: Surroundings, log: AttemptLog, is_new: bool) -> Ending:
    assert task.job is not None  # noqa: S101 - only called for a task that has one
    transport = around.transport_to(task.job.destination)
    is_sent = task.state is State.QUEUED  # else its order is not sent any more
    if is_sent and around.gateway.serves(task.job.destination):
        ending = await _bring_inputs(task, claim, around, log)
        if ending is not None:
            return ending
        is_new = False
    lent = await around.lender.lend(task, task.job.destination) if is_sent else NOTHING
    order = plan_job(task, task.job.destination, around.settings, transport.bell, lent, around.place.needs)
    job = FollowJob(
        task=task,
        claim=claim,
        order=replace(order, is_new=is_new),
        transport=transport,
        store=around.store,
        timing=around.settings.scheduler,
        logs=around.settings.logs.of_task(len(task.request.get("executors", ()))),
        wake=around.wake,
        log=log,
        outputs=GatewayOutputs(_passage(task, claim, around, log)),
        health=around.health,
        deadlines=around.deadlines,
        crowd=around.crowd,
        metrics=around.metrics,
    )
    return await job.follow()


async def _bring_inputs(task: Task, claim: Claim, around: Surroundings, log: AttemptLog) -> Ending | None:
    left_s = await around.deadlines.left_s(State.QUEUED)
    try:
        async with asyncio.timeout(left_s if left_s != math.inf else None):
            return await GatewayInputs(_passage(task, claim, around, log)).bring()
    except TimeoutError:
        if not (passed := await around.deadlines.passed(State.QUEUED)):
            raise
        return Ending(State.SYSTEM_ERROR, passed)


def _passage(task: Task, claim: Claim, around: Surroundings, log: AttemptLog) -> Passage:
    assert task.job is not None  # noqa: S101 - only called for a task that has one
    transport = around.transport_to(task.job.destination)
    return Passage(around.gateway, task, claim, task.job.job_id, transport, around.store, around.wake, log)


async def _store_end(
    task: Task, claim: Claim, around: Surroundings, ending: Ending, log: AttemptLog | None
) -> None:
    """Take the task to the ending's state, through the states that lead there; a cancel asked for wins.

    Raises:
        AttemptBegun: it is not true any more that nothing has run, and nothing was stored of the end.
    """
    if log is not None:
        failed = ending.state in (State.SYSTEM_ERROR, State.EXECUTOR_ERROR, State.PREEMPTED)
        if failed and task.attempt > 1:
            ending = replace(ending, reason=f"{ending.reason} (attempt {task.attempt}, the last)")
        log.close(rfc3339(now()), ending.reason if failed else None)
        log.metadata |= {"cause": ending.cause} if ending.cause else {}
    current = await around.store.get_state(task.id)
    while current not in FINAL:
        if current is State.CANCELING and ending.state is not State.CANCELED:
            ending = Ending(State.CANCELED, f"canceled; the job had ended {ending.state}: {ending.reason}")
        step = route(current, ending.state)[0]
        last = step is ending.state
        try:
            await around.store.transition(
                task.id,
                step,
                claim=claim,
                reason=ending.reason,
                changes=Changes(log=log.as_json(), revokes=_revocation(ending)) if last and log else None,
            )
            current = step
        except TransitionRefused as refusal:  # a cancel came in between
            current = refusal.current
        else:
            if last:
                destination = task.job.destination if task.job else None
                around.metrics.task_ended(task.id, step, destination, created_at=task.created_at)


def _revocation(ending: Ending) -> Revocation:
    return Revocation(unless_begun=not ending.may_have_run, worker=ending.worker)


async def _clean(job: Job, around: Surroundings) -> None:
    if not around.reaches(job):  # that server removes it when it is back
        return
    if job.destination not in around.transports:
        _log.warning(
            "job %s stays where it is: the settings have no destination %s", job.job_id, job.destination
        )
        return
    await around.transport_to(job.destination).clean(job.job_id)


def _new_log(task: Task) -> AttemptLog:
    assert task.job is not None  # noqa: S101 - only called for a task that has one
    stored = task.logs[task.attempt - 1] if len(task.logs) >= task.attempt else {}
    log = AttemptLog.resumed({"destination": task.job.destination, "job_id": task.job.job_id}, stored)
    log.metadata.pop(NEXT_ATTEMPT_AT, None)
    return log


def _claim_of(task: Task) -> Claim:
    if task.claim is None:
        raise ValueError(f"task {task.id} is not claimed")
    return task.claim
