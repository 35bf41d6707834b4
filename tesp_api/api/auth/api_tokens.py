"""The server's own API tokens: `tesp_ID_SECRET`, of which the store has the id and a digest of the secret."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import ClassVar

from tesp_api.api.auth.authenticator import Proof, Scheme, SignIn
from tesp_api.api.auth.basic import local_identity
from tesp_api.api.auth.identity import Action
from tesp_api.errors import NotAuthenticated
from tesp_api.store.accounts import Accounts, ApiToken
from tesp_api.tes.times import now

PREFIX = "tesp_"

_SECRET_BYTES = 32
_FORM = re.compile(PREFIX + r"([0-9a-f]{12})_([0-9a-f]{64})")


def new_token(
    user: str, scopes: Iterable[Action], ends_at: datetime | None, note: str
) -> tuple[str, ApiToken]:
    """A token as its user gets it, once, and as it is kept.

    A plain hash will do for what is kept: the secret has 256 random bits, and nothing to be guessed.
    """
    token_id, secret = secrets.token_hex(6), secrets.token_hex(_SECRET_BYTES)
    kept = ApiToken(token_id, user, _digest(secret), sorted(set(scopes)), now(), ends_at, note)
    return f"{PREFIX}{token_id}_{secret}", kept


class TokenAuthenticator:
    """An `Authenticator` of API tokens. `clock` decides when they end."""

    scheme: ClassVar[Scheme] = "bearer"

    def __init__(self, accounts: Accounts, *, clock: Callable[[], datetime] = now) -> None:
        self._accounts = accounts
        self._clock = clock

    def takes(self, credentials: str) -> bool:
        return credentials.startswith(PREFIX)

    def claimed(self, credentials: str) -> str:
        form = _FORM.fullmatch(credentials)
        return f"token {form[1]}" if form else ""

    async def sign_ins(self) -> list[SignIn]:
        return []

    async def authenticate(self, credentials: str, *, place: str = "") -> Proof:
        form = _FORM.fullmatch(credentials)
        found = await self._accounts.find_token(form[1]) if form else None
        if form is None or found is None or not hmac.compare_digest(found[0].digest, _digest(form[2])):
            raise NotAuthenticated("the token is not one of this server, or has been revoked")
        token, user = found
        if token.expires_at is not None and token.expires_at <= self._clock():
            raise NotAuthenticated("the token has expired", is_guess=False)
        scopes = frozenset(Action(scope) for scope in token.scopes if scope in set(Action))
        return Proof(replace(local_identity(user), scopes=scopes), token.expires_at)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
