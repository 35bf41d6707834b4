"""The accounts' protocol: the server's own users and their API tokens.

They are kept beside the tasks, so that all servers of one store share them. The command line changes them
while servers run: what a method has returned from is seen by every process from then on.

All methods raise `StoreUnavailable` while the database does not answer. No password and no token is kept,
only what can check one: `password_hash` (argon2, with its salt) and `digest` (SHA-256 of a random secret).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

USER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}")
"""What users may be called. No name of an identity from elsewhere looks so: those have `://` in them."""

GROUP_NAME = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True, slots=True)
class User:
    """A user of this server. One without a `password_hash` can use tokens alone."""

    name: str
    created_at: datetime
    password_hash: str = ""
    groups: Sequence[str] = ()
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token of a user: good for `scopes`, until `expires_at` (None: until it is revoked)."""

    id: str
    user: str
    digest: bytes
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime | None = None
    note: str = ""


class Accounts(Protocol):
    """Keeps users and tokens. Safe to use from several processes at once."""

    async def open(self) -> None:
        """Connect, and create or check the schema. Called once, before anything else."""

    async def aclose(self) -> None:
        """Let go of the database."""

    async def add_user(self, user: User) -> None:
        """Keep a new user.

        Raises:
            AccountRefused: there is one of that name.
        """

    async def find_user(self, name: str) -> User | None:
        """The user; None if there is none of that name."""

    async def list_users(self) -> list[User]:
        """All users, by name."""

    async def change_user(
        self,
        name: str,
        *,
        password_hash: str | None = None,
        groups: Sequence[str] | None = None,
        is_admin: bool | None = None,
    ) -> None:
        """Change what is not None; an empty `password_hash` ends the use of a password.

        Raises:
            AccountRefused: there is no such user.
        """

    async def remove_user(self, name: str) -> None:
        """Forget the user, with all tokens: a later user of the same name has none of them.

        Raises:
            AccountRefused: there is no such user.
        """

    async def add_token(self, token: ApiToken) -> None:
        """Keep a new token.

        Raises:
            AccountRefused: there is no user of the name.
        """

    async def find_token(self, token_id: str) -> tuple[ApiToken, User] | None:
        """The token with its user as they are now, expired or not; None if there is none."""

    async def list_tokens(self) -> list[ApiToken]:
        """All tokens, the oldest first."""

    async def remove_token(self, token_id: str) -> None:
        """Forget the token.

        Raises:
            AccountRefused: there is none with this id.
        """
