"""What an identity may do with a task: the one place where that is decided."""

from enum import Enum, auto
from typing import Protocol

from tesp_api.api.auth.identity import Action, Identity


class Owned(Protocol):
    """What is asked about a task."""

    @property
    def owner(self) -> str: ...


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
    if task is not None and not sees(identity, task):
        return Verdict.HIDDEN
    return Verdict.ALLOWED


def sees(identity: Identity, task: Owned) -> bool:
    """Whether the task is theirs, or they are an admin."""
    return identity.is_admin or task.owner == identity.owner
