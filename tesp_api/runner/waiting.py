"""What a task's driver does until the task has a place: wait, and say in its history for what."""

import asyncio
import logging
from dataclasses import replace

from tesp_api.errors import PulsarUnavailable
from tesp_api.runner.places import Place, Places
from tesp_api.runner.retries import next_attempt_at
from tesp_api.runner.surroundings import Surroundings
from tesp_api.store.base import Changes, Claim, Task
from tesp_api.tes.states import State
from tesp_api.tes.times import now

_log = logging.getLogger(__name__)

TELL_MIN_S, TELL_MAX_S = 1.0, 60.0
"""What a task waits for is told after the first time, and a change of it after pauses that double."""
_PAUSE_S = 0.1
_LATER = "; tasks of users who use less come first"


async def find_place(task: Task, around: Surroundings, places: Places) -> Task:
    """Return the task, wholly read, once it has a place at a destination that answers.

    Also returns when it is being canceled, when no destination can ever take it, and when it has waited
    for longer than it may. A task without its
    document, which may be large while many wait, is read again.

    Raises:
        StoreUnavailable: call again.
        ClaimLost, TaskNotFound: as they come.
    """
    place, task_id, claim = around.place, task.id, task.claim
    if claim is None:
        raise ValueError(f"task {task_id} is not claimed")
    is_read = bool(task.request)
    while True:
        if place.destination is None and not place.is_hopeless:
            await _wait(task_id, claim, around)
            is_read = False
        if not is_read:
            task = replace(await around.store.get(task_id), claim=claim)
            is_read = True
        if place.destination is None or task.state is not State.QUEUED:
            return task
        try:
            await around.health.assure(place.destination)
        except PulsarUnavailable as error:
            _log.info("task %s is not sent to %s: %s", task_id, place.destination, error)
            places.give_back(place)
            await asyncio.sleep(_PAUSE_S)
            places.settle()
        else:
            return task


async def wait_for_attempt(task: Task, around: Surroundings) -> Task:
    """Return the task once its next attempt may begin, it is being canceled, or it was QUEUED for too long.

    Raises:
        StoreUnavailable: call again.
        TaskNotFound: as it comes.
    """
    begins_at = next_attempt_at(task) or now()
    longest_s = around.settings.retries.pause_max_s  # a clock may have been set back
    while task.state is State.QUEUED:
        left_s = min((begins_at - now()).total_seconds(), longest_s)
        left_s = min(left_s, await around.deadlines.left_s(State.QUEUED))
        if left_s <= 0:
            break
        try:
            async with asyncio.timeout(left_s):
                await around.wake.wait()
        except TimeoutError:
            begins_at = min(begins_at, now())
        around.wake.clear()
        task = replace(await around.store.get(task.id), claim=task.claim)
    return task


async def _wait(task_id: str, claim: Claim, around: Surroundings) -> None:
    """Until there is a place, or the task is no longer QUEUED, or has been so for too long."""
    place, pause_s = around.place, TELL_MIN_S
    while place.destination is None and (left_s := await around.deadlines.left_s(State.QUEUED)) > 0:
        try:
            async with asyncio.timeout(min(pause_s, left_s)):
                await around.wake.wait()
        except TimeoutError:
            if reason := _news(place):
                told, told_turns = place.waits_for, place.told_turns or place.comes_later
                await around.store.update(task_id, Changes(), claim=claim, reason=reason)
                place.told, place.told_turns = told, told_turns
            pause_s = min(2 * pause_s, TELL_MAX_S)
        else:
            around.wake.clear()
            if await around.store.get_state(task_id) is not State.QUEUED:
                return


def _news(place: Place) -> str:
    """What the history has not told yet; that others come first changes often, and is told once."""
    is_new = place.waits_for != place.told or (place.comes_later and not place.told_turns)
    if not place.waits_for or not is_new:
        return ""
    return f"waits: {place.waits_for}{_LATER if place.comes_later else ''}"
