"""Who the command line is to a server: an API token, an access token of an issuer, or a user with a password.

No secret is an argument of a command, since every user of the machine can read those. They come from the
environment, from a file that nobody else can read, or from a prompt.
"""

import base64
import getpass
import os
import stat
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tesp_api.cli.exits import CommandFailed, Exit

_TOKEN = "TESP_TOKEN"  # noqa: S105 - the name of a variable
_PASSWORD = "TESP_PASSWORD"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True)
class Login:
    """What goes with each request; `of` says it in words, for messages."""

    header: str | None
    of: str

    def auth(self) -> httpx.Auth | None:
        """For httpx; it sends the header to no other host."""
        return None if self.header is None else _Header(self.header)


NOBODY = Login(None, "without any login")


class _Header(httpx.Auth):
    def __init__(self, value: str) -> None:
        self._value = value

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._value
        yield request


def read_login(user: str | None, token_file: Path | None) -> Login:
    """The login that was asked for: a user's name wins, then a file, then TESP_TOKEN.

    Raises:
        CommandFailed: the file cannot be used, or there is no password.
    """
    if user is not None:
        if ":" in user:
            said = "--user is a name alone: the password is TESP_PASSWORD, or is asked for"
            raise CommandFailed(said, Exit.USAGE)
        return Login(_basic(user, _password_of(user)), f"as {user!r}")
    if token_file is not None:
        return Login(f"Bearer {_token_in(token_file)}", f"with the token in {token_file}")
    token = os.environ.get(_TOKEN, "").strip()
    if token:
        return Login(f"Bearer {_checked(token, _TOKEN)}", f"with the token in {_TOKEN}")
    return NOBODY


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _password_of(user: str) -> str:
    password = os.environ.get(_PASSWORD)
    if password is not None:
        return password
    if not sys.stdin.isatty():
        raise CommandFailed(f"there is no password for {user!r}: set {_PASSWORD}", Exit.USAGE)
    return getpass.getpass(f"Password of {user}: ")


def _token_in(file: Path) -> str:
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise CommandFailed(f"the token file {file} cannot be read: {reason}", Exit.USAGE) from None
    if mode & 0o077:
        raise CommandFailed(f"the token file {file} can be read by others: chmod 600 {file}", Exit.USAGE)
    return _checked(text, str(file))


def _checked(token: str, place: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise CommandFailed(f"{place} holds no token", Exit.USAGE)
    return token
