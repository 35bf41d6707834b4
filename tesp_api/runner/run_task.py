"""One task, from wherever it stands to its end. Read this first to understand the runner."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from tesp_api.errors import JobLost, PulsarRefused, StagingRefused, TransitionRefused
from tesp_api.pulsar.base import PulsarTransport
from tesp_api.runner.attempt_log import AttemptLog, Ending
from tesp_api.runner.follow_job import FollowJob, NeverStarted
from tesp_api.runner.gateway import Gateway, Passage
from tesp_api.runner.gateway_inputs import GatewayInputs
from tesp_api.runner.gateway_outputs import GatewayOutputs
from tesp_api.runner.health import Health
from tesp_api.runner.job_plan import job_id_of, plan_job
from tesp_api.runner.lending import NOTHING, Lender
from tesp_api.runner.places import Place
from tesp_api.settings import Settings
from tesp_api.store.base import Changes, Claim, Job, Task, TaskStore
from tesp_api.tes.states import FINAL, State, route
from tesp_api.tes.times import now, rfc3339

_log = logging.getLogger(__name__)

LAUNCH_TRIES = 3
"""So often is a job tried whose worker never begins (Pulsar loses one in some thousands)."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What running a task needs: the store, the ways to the sites, the rules, what gives workers access to
    storage, what moves files for them, who answers, the place for a new job, and a bell of its own."""

    store: TaskStore
    transports: Mapping[str, PulsarTransport]
    settings: Settings
    lender: Lender
    gateway: Gateway
    health: Health
    place: Place
    wake: asyncio.Event

    def transport_to(self, destination: str) -> PulsarTransport:
        """The way to a destination.

        Raises:
            PulsarRefused: the settings do not name it (any more).
        """
        if destination not in self.transports:
            raise PulsarRefused(f"the settings have no destination {destination!r} (any more)")
        return self.transports[destination]


async def run_task(task: Task, around: Surroundings) -> None:
    """Drive one claimed task to its end.

    1. give it a job: the attempt and the job's id are stored before anything is sent
    2. where a gateway serves the site, bring the inputs; send the outputs before the end
    3. follow the job: launch it unless its worker has started; states, logs and a cancel are passed on
    4. if the worker never began, begin a new attempt
    5. store the end: the final state, the logs and the outputs in one step
    6. clean up at the site
    7. retire the task

    May be called again after any failure, also by another process: each step finds out what has been
    done already.

    Raises:
        PulsarUnavailable, StoreUnavailable: call again later.
        ClaimLost: another process drives the task now.
    """
    claim = _claim_of(task)
    if task.state not in FINAL:
        if task.job is None and task.state is State.CANCELING:
            await _store_end(
                task, claim, around, Ending(State.CANCELED, "canceled before it had a job"), None
            )
        else:
            if task.job is None:
                task = await _begin_attempt(task, claim, around)
            task, ending, log = await _run_attempts(task, claim, around)
            await _store_end(task, claim, around, ending, log)
    if task.job is not None:
        await _clean(task.job, around)
    await around.store.retire(claim)


async def abandon_task(task: Task, around: Surroundings, error: Exception) -> None:
    """End a task that cannot be driven on because of a fault of our own: SYSTEM_ERROR, its job killed."""
    claim = _claim_of(task)
    log = _new_log(task) if task.job is not None else None
    if task.job is not None:
        with contextlib.suppress(PulsarRefused):  # nothing there that we could end
            await around.transport_to(task.job.destination).cancel(task.job.job_id)
    reason = f"internal error of the server, {type(error).__name__}: {error} (its log says more)"
    await _store_end(task, claim, around, Ending(State.SYSTEM_ERROR, reason), log)


async def refuse_task(task: Task, around: Surroundings, reason: str) -> None:
    """End a task that no destination can take under the present settings: SYSTEM_ERROR."""
    claim = _claim_of(task)
    await _store_end(task, claim, around, Ending(State.SYSTEM_ERROR, reason), None)
    await around.store.retire(claim)


async def _run_attempts(task: Task, claim: Claim, around: Surroundings) -> tuple[Task, Ending, AttemptLog]:
    """Follow the task's job, and the next one if its worker never began, until one has an end."""
    while True:
        log = _new_log(task)
        try:
            return task, await _follow(task, claim, around, log), log
        except NeverStarted as reason:
            message = f"the job ended before the worker began: {reason}"
        except (JobLost, PulsarRefused, StagingRefused) as error:
            return task, Ending(State.SYSTEM_ERROR, str(error)), log
        if (await around.store.get(task.id)).state is State.CANCELING:
            return task, Ending(State.CANCELED, "canceled before the worker began"), log
        if task.attempt >= LAUNCH_TRIES:
            return task, Ending(State.SYSTEM_ERROR, f"{message} (tried {task.attempt} times)"), log
        log.close(rfc3339(now()), message)
        task = await _begin_next_attempt(task, claim, around, log, message)


async def _begin_attempt(task: Task, claim: Claim, around: Surroundings) -> Task:
    attempt = task.attempt + 1
    place = around.place
    if place.destination is None:
        raise ValueError(f"task {task.id} has no place")
    job = Job(place.destination, job_id_of(task.id, attempt))
    reason = f"attempt {attempt} goes to {job.destination} as job {job.job_id}"
    reason += f" ({place.why})" if place.why else ""
    return await around.store.update(task.id, Changes(attempt=attempt, job=job), claim=claim, reason=reason)


async def _begin_next_attempt(
    task: Task, claim: Claim, around: Surroundings, log: AttemptLog, reason: str
) -> Task:
    """Close a job that never ran, so that it never will, and give the task another."""
    assert task.job is not None  # noqa: S101 - only called for a task that has one
    await around.store.update(task.id, Changes(log=log.as_json()), claim=claim, reason=reason)
    transport = around.transport_to(task.job.destination)
    with contextlib.suppress(PulsarRefused):  # there is no such job, so nothing that could still begin
        await transport.write_file(task.job.job_id, "cancel", b"")
    await transport.clean(task.job.job_id)
    return await _begin_attempt(task, claim, around)


async def _follow(task: Task, claim: Claim, around: Surroundings, log: AttemptLog) -> Ending:
    assert task.job is not None  # noqa: S101 - only called for a task that has one
    transport = around.transport_to(task.job.destination)
    is_new = task.state is State.QUEUED  # else its order is not sent any more
    if is_new and around.gateway.serves(task.job.destination):
        ending = await GatewayInputs(_passage(task, claim, around, log)).bring()
        if ending is not None:
            return ending
    lent = await around.lender.lend(task, task.job.destination) if is_new else NOTHING
    job = FollowJob(
        task=task,
        claim=claim,
        order=plan_job(
            task, task.job.destination, around.settings, transport.bell, lent, around.place.needs
        ),
        transport=transport,
        store=around.store,
        timing=around.settings.scheduler,
        logs=around.settings.logs,
        wake=around.wake,
        log=log,
        outputs=GatewayOutputs(_passage(task, claim, around, log)),
        health=around.health,
    )
    return await job.follow()


def _passage(task: Task, claim: Claim, around: Surroundings, log: AttemptLog) -> Passage:
    assert task.job is not None  # noqa: S101 - only called for a task that has one
    transport = around.transport_to(task.job.destination)
    return Passage(around.gateway, task, claim, task.job.job_id, transport, around.store, around.wake, log)


async def _store_end(
    task: Task, claim: Claim, around: Surroundings, ending: Ending, log: AttemptLog | None
) -> None:
    """Take the task to the ending's state, through the states that lead there; a cancel asked for wins."""
    if log is not None:
        failed = ending.state in (State.SYSTEM_ERROR, State.EXECUTOR_ERROR)
        log.close(rfc3339(now()), ending.reason if failed else None)
    current = (await around.store.get(task.id)).state
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
                changes=Changes(log=log.as_json()) if last and log is not None else None,
            )
            current = step
        except TransitionRefused as refusal:  # a cancel came in between
            current = refusal.current


async def _clean(job: Job, around: Surroundings) -> None:
    if job.destination not in around.transports:
        _log.warning(
            "job %s stays where it is: the settings have no destination %s", job.job_id, job.destination
        )
        return
    await around.transport_to(job.destination).clean(job.job_id)


def _new_log(task: Task) -> AttemptLog:
    assert task.job is not None  # noqa: S101 - only called for a task that has one
    stored = task.logs[task.attempt - 1] if len(task.logs) >= task.attempt else {}
    return AttemptLog.resumed({"destination": task.job.destination, "job_id": task.job.job_id}, stored)


def _claim_of(task: Task) -> Claim:
    if task.claim is None:
        raise ValueError(f"task {task.id} is not claimed")
    return task.claim
