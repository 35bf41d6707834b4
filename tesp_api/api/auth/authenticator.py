"""The protocol of ways to log in. One contract holds for all (`tests/contract/test_authenticators.py`)."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal, Protocol

from tesp_api.api.auth.identity import Identity

Scheme = Literal["basic", "bearer"]


@dataclass(frozen=True, slots=True)
class Proof:
    """Who it is, and until when the credentials are good by their own word (None: they name no end)."""

    identity: Identity
    ends_at: datetime | None = None


class Authenticator(Protocol):
    """One way to log in, by the header `Authorization: SCHEME CREDENTIALS`."""

    scheme: ClassVar[Scheme]

    def takes(self, credentials: str) -> bool:
        """Whether they look like those of this way; of one scheme, the first that takes them is asked."""

    async def authenticate(self, credentials: str) -> Proof:
        """Who has these credentials, as the store and the keys are now.

        Whatever is sent, it ends in one of these ways; the texts say nothing that was not known before, so
        that users cannot be told from names that nobody has.

        Raises:
            NotAuthenticated: they are wrong, or no longer good.
            AuthenticationBusy, StoreUnavailable: it cannot be said now.
        """
