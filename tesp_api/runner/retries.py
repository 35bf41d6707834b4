"""Retries: whether a task gets another attempt after one has failed, and when. Pure functions.

Another attempt is announced in the log of the one before it (`next_attempt_at` in its metadata), and begun
when that time has come: so it does not matter which process waits for it, or how often that is restarted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tesp_api.errors import Fault
from tesp_api.runner.attempt_log import Ending
from tesp_api.settings import RetrySettings, Settings
from tesp_api.store.base import Task
from tesp_api.tes.backend_parameters import backend_parameter
from tesp_api.tes.states import State
from tesp_api.tes.times import rfc3339

NEXT_ATTEMPT_AT = "next_attempt_at"
_PARAMETER = "max_attempts"
_CAUSES = ("never_started", "storage_away", "staging", "preempted", "lost", "executor")


class Again(NamedTuple):
    """Another attempt: what ended the one before, and when it may begin."""

    cause: str
    begins_at: datetime
    told: str

    def as_metadata(self) -> dict[str, str]:
        """What the log of the attempt before says of it."""
        return {"cause": self.cause, NEXT_ATTEMPT_AT: rfc3339(self.begins_at)}


def judged(task: Task, ending: Ending, settings: Settings) -> Ending:
    """The ending with its cause as the settings name it; PREEMPTED, where that is what it was.

    A job that the site ended counts as preempted. So does one that vanished from a destination of jobs that
    may be preempted: not every scheduler asks first.

    The last one is what is lost behind a message broker whose workers ask for no permits: the order may lie
    in a queue, and run whenever it comes out.
    """
    site = settings.destinations.get(task.job.destination) if task.job else None
    is_preemptible = bool((task.request.get("resources") or {}).get("preemptible"))
    if ending.cause == "lost" and may_come_late(task, settings):
        ending = replace(ending, is_last=True)
    vanished = ending.cause == "lost" and site is not None and site.preemptible
    if ending.state is not State.SYSTEM_ERROR or not (ending.cause == "ended_by_site" or vanished):
        return ending
    return replace(ending, cause="preempted", state=State.PREEMPTED if is_preemptible else ending.state)


def may_come_late(task: Task, settings: Settings) -> bool:
    """Whether the job's order may lie in a message queue, and its worker run when it comes out of that."""
    site = settings.destinations.get(task.job.destination) if task.job else None
    return task.job is not None and not task.job.asks and site is not None and site.kind == "amqp"


def another(task: Task, ending: Ending, rules: RetrySettings, at: datetime) -> Again | None:
    """The next attempt, if the task gets one after its present one ended so (as `judged`) at that time."""
    cause = ending.cause
    if ending.is_last or cause not in _CAUSES or ending.state in (State.COMPLETE, State.CANCELED):
        return None
    may_run_again = cause in rules.run_again or ending.state is State.PREEMPTED
    if ending.may_have_run and not may_run_again:
        return None
    most = min(rules.max_attempts, _asked(task.request) or rules.max_attempts)
    alike = 1 + sum(_metadata(log).get("cause") == cause for log in task.logs[: task.attempt - 1])
    if task.attempt >= most or alike >= getattr(rules, cause):
        return None
    pause_s = min(rules.pause_s * 2 ** (task.attempt - 1), rules.pause_max_s)
    told = f"another attempt follows after {pause_s:g} s ({cause}; this was attempt {task.attempt} of {most})"
    return Again(cause, at + timedelta(seconds=pause_s), told)


def next_attempt_at(task: Task) -> datetime | None:
    """When the task's next attempt may begin, if its present one was given up; None if it was not."""
    if task.attempt == 0 or len(task.logs) != task.attempt:
        return None
    said = _metadata(task.logs[-1]).get(NEXT_ATTEMPT_AT)
    return datetime.fromisoformat(said) if said else None


def is_given_up(task: Task) -> bool:
    """Whether the task's present attempt has ended and another one is to follow."""
    return next_attempt_at(task) is not None


def needs_place(task: Task) -> bool:
    """Whether the task is to begin an attempt, and nobody has asked for its end."""
    return task.state is State.QUEUED and (task.job is None or is_given_up(task))


def attempt_faults(document: Mapping[str, Any], rules: RetrySettings) -> Iterator[Fault]:
    """What is wrong with the backend parameter that says how often the task may be tried."""
    asked = backend_parameter(document, _PARAMETER)
    if asked is not None and not 1 <= (_asked(document) or 0) <= rules.max_attempts:
        said = f"must be a whole number from 1 to {rules.max_attempts}, not {asked[:40]!r}"
        yield Fault(f"resources.backend_parameters.{_PARAMETER}", said)


def _asked(document: Mapping[str, Any]) -> int | None:
    asked = backend_parameter(document, _PARAMETER)
    return int(asked) if asked and asked.isascii() and asked.isdigit() and len(asked) <= 4 else None


def _metadata(log: Mapping[str, Any]) -> Mapping[str, Any]:
    return log.get("metadata") or {}
