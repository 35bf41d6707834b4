"""The named credentials of the settings: which of them is for a URL of a task."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from tesp_api.settings import CredentialSettings


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential with its name; `rule` holds the secrets, which are never shown."""

    name: str
    rule: CredentialSettings


class Credentials:
    """Finds credentials by URL, user and name. Immutable."""

    def __init__(self, named: Mapping[str, CredentialSettings]) -> None:
        self._all = [Credential(name, rule) for name, rule in named.items()]

    def find(self, url: str, *, owner: str, named: Collection[str] = ()) -> Credential | None:
        """The credential for `url` in a task of `owner` that names the credentials `named`; None without one.

        Of several, one that the task names wins, then the one with the longest prefix, then the first in
        the settings.
        """
        fitting = [one for one in self._all if self._fits(one, url, owner, named)]
        return max(fitting, key=lambda one: (one.name in named, len(one.rule.url_prefix)), default=None)

    def get(self, name: str, *, owner: str) -> Credential | None:
        """The credential of that name, if `owner` may use it."""
        return next((one for one in self._all if one.name == name and _may_use(one, owner)), None)

    def _fits(self, one: Credential, url: str, owner: str, named: Collection[str]) -> bool:
        is_asked_for = one.name in named or not one.rule.by_name_only
        return is_asked_for and _may_use(one, owner) and begins_with(url, one.rule.url_prefix)


def begins_with(url: str, prefix: str) -> bool:
    """Whether `url` is `prefix` or below it: equal scheme and host, and whole parts of the path.

    `s3://lab` is no prefix of `s3://laboratory`, nor `https://a.org/x` of `https://a.org/xy`. Only in S3's
    keys may there be a `?`; elsewhere it begins the query, which does not count.
    """
    if url == prefix:
        return True
    scheme, _, rest = url.partition("://")
    wanted_scheme, _, wanted = prefix.partition("://")
    if scheme.lower() != "s3":
        rest = rest.partition("#")[0].partition("?")[0]
    host, slash, path = rest.partition("/")
    wanted_host, _, wanted_path = wanted.partition("/")
    if scheme.lower() != wanted_scheme.lower() or _host_of(host) != _host_of(wanted_host):
        return False
    parts = re.split(r"[/\\]", unquote(path, errors="replace"))
    if any(part.partition(";")[0] in (".", "..") for part in parts):  # as some servers read it
        return False
    wanted_path = wanted_path.rstrip("/")
    return not wanted_path or (slash + path == f"/{wanted_path}") or path.startswith(f"{wanted_path}/")


def _host_of(authority: str) -> str:
    return authority.rpartition("@")[2].lower()


def _may_use(one: Credential, owner: str) -> bool:
    return one.rule.users is None or owner in one.rule.users
