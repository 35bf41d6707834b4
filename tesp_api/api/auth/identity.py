"""Who sends a request."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from starlette.requests import Request
from starlette.types import Scope as AsgiScope

LOCAL = "local"
"""The issuer of the server's own users."""

ANYBODY = "anybody"
"""The owner of all tasks that come while nobody has to log in. No user can be called so."""

_KEY = "tesp.identity"


class Action(StrEnum):
    """What can be done with tasks; also the scopes of API tokens."""

    READ = "read"
    SUBMIT = "submit"
    CANCEL = "cancel"
    DELETE = "delete"


EVERYTHING = frozenset(Action)


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, as issuer and subject, with what was said of them when they proved it.

    `scopes` are what the credentials are good for, whoever has them; `name` is for people and proves nothing.
    """

    issuer: str
    subject: str
    name: str = ""
    groups: tuple[str, ...] = ()
    is_admin: bool = False
    scopes: frozenset[Action] = EVERYTHING

    @property
    def owner(self) -> str:
        """What stands in the tasks of this user: the name of a local one, else ISSUER#SUBJECT.

        No issuer has a `#` (Source: OpenID Connect Discovery 1.0, section 3), and no name of a local user `://`.
        """
        return self.subject if self.issuer == LOCAL else f"{self.issuer}#{self.subject}"


OPEN = Identity(LOCAL, ANYBODY, name=ANYBODY, is_admin=True)
"""Everybody, where nobody has to log in: they share all tasks."""


class _Sender:
    """Who sends a request, once that is known; shared by all copies of the request's scope."""

    identity: Identity | None = None
    verify_again: Callable[[], Awaitable[Identity]] | None = None


def await_identity(scope: AsgiScope) -> None:
    """Make a place on the request for who sends it: who calls this can look there when all is done."""
    scope[_KEY] = _Sender()


def put_identity(
    scope: AsgiScope, identity: Identity, verify_again: Callable[[], Awaitable[Identity]] | None = None
) -> None:
    """Note on the request who sends it, and how to find out whether that is still so."""
    if _KEY not in scope:
        await_identity(scope)
    scope[_KEY].identity = identity
    scope[_KEY].verify_again = verify_again


def identity_in(scope: AsgiScope) -> Identity | None:
    """Who sends the request, if that is known."""
    found = scope.get(_KEY)
    return found.identity if isinstance(found, _Sender) else None


def sender(request: Request) -> Identity:
    """Who sends the request. There is none for the paths that are public, whose endpoints do not ask."""
    identity = identity_in(request.scope)
    assert identity is not None  # noqa: S101 - the middleware has put it there
    return identity


async def sender_again(request: Request) -> Identity:
    """Who sends the request, by what holds now: an answer may go on for hours.

    Raises:
        NotAuthenticated: the credentials are no longer good.
        AuthenticationBusy, StoreUnavailable: it cannot be said now.
    """
    noted = request.scope[_KEY]
    return sender(request) if noted.verify_again is None else await noted.verify_again()
