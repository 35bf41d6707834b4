"""The protocol of ways to log in. One contract holds for all (`tests/contract/test_authenticators.py`)."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal, NamedTuple, Protocol

from tesp_api.api.auth.identity import Identity

Scheme = Literal["basic", "bearer"]


@dataclass(frozen=True, slots=True)
class Proof:
    """Who it is, and until when the credentials are good by their own word (None: they name no end)."""

    identity: Identity
    ends_at: datetime | None = None


class SignIn(NamedTuple):
    """Where the page of the documentation sends people to log in; no URLs if the issuer is away."""

    name: str
    client_id: str
    discovery_url: str
    authorization_url: str | None
    token_url: str | None


class Authenticator(Protocol):
    """One way to log in, by the header `Authorization: SCHEME CREDENTIALS`."""

    scheme: ClassVar[Scheme]

    def takes(self, credentials: str) -> bool:
        """Whether they look like those of this way; of one scheme, the first that takes them is asked."""

    def claimed(self, credentials: str) -> str:
        """Whose they say they are, by a name that can be guessed at; "" if that is nobody's in particular.

        Nothing is looked up for it.
        """

    async def authenticate(self, credentials: str, *, place: str = "") -> Proof:
        """Who has these credentials, as the store and the keys are now.

        `place` is where they come from (`prefix_of` the address): what can be guessed is not looked at from
        there as often as one likes.

        Whatever is sent, it ends in one of these ways; the texts say nothing that was not known before, so
        that users cannot be told from names that nobody has.

        Raises:
            NotAuthenticated: they are wrong, or no longer good.
            AuthenticationBusy, StoreUnavailable: it cannot be said now.
        """

    async def sign_ins(self) -> "list[SignIn]":
        """Where people are sent to log in; none if they type their credentials."""
