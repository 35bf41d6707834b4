"""HTTP Basic: users of the server with passwords. Source: RFC 7617."""

import base64
import binascii
from typing import ClassVar

from tesp_api.api.auth.authenticator import Proof, Scheme, SignIn
from tesp_api.api.auth.identity import LOCAL, Identity
from tesp_api.api.auth.passwords import MOST_BYTES, PasswordChecker
from tesp_api.errors import NotAuthenticated
from tesp_api.settings_limits import LoginLimits
from tesp_api.store.accounts import USER_NAME, Accounts, User

_WRONG = "the user name or the password is wrong"


class BasicAuthenticator:
    """An `Authenticator` of user names and passwords."""

    scheme: ClassVar[Scheme] = "basic"

    def __init__(self, accounts: Accounts, limits: LoginLimits) -> None:
        self._accounts = accounts
        self._passwords = PasswordChecker(limits)

    def takes(self, credentials: str) -> bool:
        return True

    def claimed(self, credentials: str) -> str:
        try:
            name, _ = _read(credentials)
        except NotAuthenticated:
            return ""
        return f"user {name}" if USER_NAME.fullmatch(name) else ""

    async def sign_ins(self) -> list[SignIn]:
        return []

    async def authenticate(self, credentials: str, *, place: str = "") -> Proof:
        name, password = _read(credentials)
        user = await self._accounts.find_user(name) if USER_NAME.fullmatch(name) else None
        stored = user.password_hash if user else ""
        if not await self._passwords.is_right(name, password, stored, place=place) or user is None:
            raise NotAuthenticated(_WRONG)
        return Proof(local_identity(user))


def local_identity(user: User) -> Identity:
    """A user of the server as one who sends requests."""
    return Identity(LOCAL, user.name, user.name, tuple(sorted(user.groups)), user.is_admin)


def _read(credentials: str) -> tuple[str, str]:
    try:
        name, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise NotAuthenticated("the Basic credentials are not base64 of UTF-8") from None
    if not colon or len(password) > MOST_BYTES:
        raise NotAuthenticated(_WRONG)
    return name, password
