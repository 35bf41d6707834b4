"""Logins in use: the headers that carry them, and how failures speak of them without giving them away."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

from ..errors import StagingError
from ..urls import hide, scheme_of, without_secrets
from . import Site
from .lending import Login


def headers_for(url: str, site: Site) -> dict[str, str]:
    """What goes with a request to just this URL. Raises: StagingError when the API cannot be asked."""
    login = site.lender.login_for(url)
    if login is None:
        return {}
    headers = dict(login.headers)
    if login.username or login.password:
        headers["Authorization"] = f"Basic {_encoded(login)}"
    return headers


def in_words(url: str, site: Site) -> str:
    """Which login goes with the URL, for whoever wonders why it was refused."""
    login = site.lender.login_for(url)
    if login is None:
        return "no credential was used" if "@" not in urlsplit(url).netloc else "with the URL's own login"
    return f"with the credential {login.name!r}" if login.name else "with the login that its URL came with"


def cleaned(text: str, url: str, site: Site) -> str:
    """What a server said about the URL, without the secrets that were sent there."""
    text = without_secrets(text, url)
    if scheme_of(url) == "s3":  # it has signatures, which are cleaned of where they are
        return text
    try:
        login = site.lender.login_for(url)
    except StagingError:  # so none was sent
        return text
    return text if login is None else hide(text, _secrets_of(login))


def _secrets_of(login: Login) -> list[str]:
    values = [login.password or login.username, _encoded(login), *login.headers.values()]
    return [*values, *(value.split()[-1] for value in login.headers.values() if value.strip())]


def _encoded(login: Login) -> str:
    return base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
