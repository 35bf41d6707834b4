"""What an identity may do with a task: the one place where that is decided."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol

from tesp_api.api.auth.identity import Action, Identity
from tesp_api.errors import NotAllowed, RunNotFound, TaskNotFound


class Owned(Protocol):
    """What is asked about a task."""

    @property
    def owner(self) -> str: ...
    @property
    def groups(self) -> Sequence[str]: ...


class Verdict(Enum):
    """What becomes of a request."""

    ALLOWED = auto()
    FORBIDDEN = auto()
    """It is told that this is not allowed: the credentials are not good for it, whatever the task."""
    HIDDEN = auto()
    """It is told that there is no such task, as for one that does not exist."""


def may(identity: Identity, action: Action, task: Owned | None = None) -> Verdict:
    """Whether `identity` may do this with `task`; without one, with tasks at all (create, list).

    The scopes come first, so that the answer to one who has not the scope says nothing about the task.
    """
    if action not in identity.scopes:
        return Verdict.FORBIDDEN
    if task is not None and not _sees(identity, task):
        return Verdict.HIDDEN
    return Verdict.ALLOWED


def require(
    identity: Identity, action: Action, task: Owned | None = None, *, task_id: str = "", run_id: str = ""
) -> None:
    """Return if `may` allows it; with a `run_id`, `task` is a workflow run, for which the same holds.

    Raises:
        NotAllowed: the credentials are not good for it.
        TaskNotFound, RunNotFound: it is another's.
    """
    verdict = may(identity, action, task)
    if verdict is Verdict.FORBIDDEN:
        raise NotAllowed(f"these credentials are not good for this: they lack the scope {action}")
    if verdict is Verdict.HIDDEN:
        raise RunNotFound(run_id) if run_id else TaskNotFound(task_id)


def _sees(identity: Identity, task: Owned) -> bool:
    """An admin sees all tasks, everybody their own and those that are shared with a group of theirs."""
    return (
        identity.is_admin
        or task.owner == identity.owner
        or not frozenset(task.groups).isdisjoint(identity.groups)
    )
