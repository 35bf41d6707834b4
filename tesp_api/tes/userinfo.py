"""Logins in URLs: `https://user:password@host/`. They are split off before anything is stored or shown."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

from tesp_api.errors import Fault
from tesp_api.tes.paths import has_control_characters, has_wildcards

_USERINFO = re.compile(r"^([^/?#]*://)([^/?#]*)@")


class UrlLogin(NamedTuple):
    """How to log in at `url_prefix` and below; without percent-encoding."""

    url_prefix: str
    username: str
    password: str


def without_userinfo(url: str) -> str:
    """The same URL without user and password."""
    return _USERINFO.sub(r"\1", url)


def userinfo_fault(url: str) -> str | None:
    """Why the login in the URL cannot be used, without showing it; None if there is none, or it can."""
    found = _USERINFO.match(url)
    if found is None:
        return None
    scheme, user, password = found[1].lower(), *_parts(found[2])
    if scheme == "s3://":
        return (
            "has a user or keys before the @, which S3 takes from no URL: keys belong in a table "
            "[credentials.NAME] of the server's settings"
        )
    if scheme not in ("http://", "https://", "ftp://", "ftps://"):
        return "has a user before the @, which only http, https, ftp and ftps URLs can have"
    if user is None or password is None:
        return "has a user or a password that is no UTF-8 when decoded"
    if has_control_characters(user + password):
        return "has control characters in its user or password"
    if ":" in user and scheme.startswith("http"):
        return "has a user with a colon in it, which HTTP cannot send"
    return None


def login_prefixes(url: str) -> tuple[str, str]:
    """The prefixes that a login from this URL can have: the URL of a file itself, or the directory's."""
    return without_userinfo(url), re.split("[?#]", without_userinfo(url))[0]


def split_off_logins(document: dict[str, Any], faults: list[Fault]) -> tuple[UrlLogin, ...]:
    """Take the logins out of the URLs of a task's document, which is changed; what is wrong goes to `faults`.

    Each is for its own URL, so one task can have several for one host; but not two for the same URL. One
    of an input that has its content beside the URL is not kept.
    """
    logins: dict[str, UrlLogin] = {}
    for kind, at, item in _items_with_urls(document):
        url = item["url"]
        item["url"] = without_userinfo(url)
        found = _USERINFO.match(url)
        if found is None or found[2] in ("", ":") or item.get("content"):
            continue
        user, password = _parts(found[2])
        login = UrlLogin(_prefix_of(kind, item), user or "", password or "")
        if logins.setdefault(login.url_prefix, login) != login:
            faults.append(Fault(f"{kind}[{at}].url", "is there with another user or password already"))
    return tuple(logins.values())


def _items_with_urls(document: dict[str, Any]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for kind in ("inputs", "outputs"):
        for at, item in enumerate(document.get(kind, ())):
            if item.get("url"):
                yield kind, at, item


def _prefix_of(kind: str, item: dict[str, Any]) -> str:
    """The URL itself, or the directory below which the item's files are."""
    is_directory = item.get("type") == "DIRECTORY" or (kind == "outputs" and has_wildcards(item["path"]))
    return login_prefixes(item["url"])[is_directory]


def _parts(userinfo: str) -> tuple[str | None, str | None]:
    """User and password, decoded; None for what is no UTF-8."""
    user, _, password = userinfo.partition(":")
    return _decoded(user), _decoded(password)


def _decoded(text: str) -> str | None:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return None
