"""What `tesp doctor` looks at of secrets and logins: who else could read them, and what everybody knows."""

import asyncio
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tesp_api.app import build_accounts
from tesp_api.cli.check import Check
from tesp_api.errors import StoreError
from tesp_api.settings import Settings
from tesp_api.settings_sources import secret_files, settings_file

_SECRET_KEYS = ("password", "token", "secret", "access_key", "_key")
_EXAMPLES = frozenset(
    {
        "0123456789abcdef0123456789abcdef",
        "...",
        "changeme",
        "secret",
        "password",
        "replace-me-by-openssl-rand-hex-32",
    }
)
_DEFAULT_LOGINS = frozenset({"guest:guest", "admin:admin", "root:root", "root:example"})
_OPEN_TO_ALL = 0o007
_OPEN_TO_GROUP = 0o070


def secret_checks(settings: Settings) -> Iterator[Check]:
    """Files with secrets that others can read, and secrets that are no secret."""
    file = settings_file()
    if file is not None and _has_secrets(file):
        yield _file_check("settings file", file, "it has secrets in it")
    for named in secret_files(file):
        yield _file_check("secret file", named, "a setting is read from it")
    known = sorted(name for name, value in _secrets(settings) if value in _EXAMPLES)
    if known:
        mend = "choose ones of your own: `openssl rand -hex 32` makes one"
        yield Check("secrets", "fail", f"{', '.join(known)}: a value that everybody knows", mend)
    for name, url in _urls(settings):
        if _login_in(url) in _DEFAULT_LOGINS:
            yield Check("secrets", "warn", f"{name} has the login that its server has at first", "change it")


def login_checks(settings: Settings) -> Iterator[Check]:
    """Who can log in, and whether there is anybody who can."""
    if settings.auth.is_open:
        if settings.auth.open_to_network:
            mend = "choose auth.modes, unless a proxy that asks for a login is the only way to this server"
            yield Check("logins", "warn", "nobody has to log in, from anywhere", mend)
        else:
            yield Check("logins", "ok", "nobody has to log in; only this machine is served")
        return
    yield Check("logins", "ok", f"by {', '.join(settings.auth.modes)}")
    if settings.auth.has_accounts:
        yield _users(settings)
    for name, issuer in settings.issuers.items():
        if issuer.url.startswith("http://") and "oidc" in settings.auth.modes:
            yield Check(f"issuer {name}", "warn", f"{issuer.url} is not behind TLS", "use https://")


def _users(settings: Settings) -> Check:
    async def count() -> int:
        if settings.store.kind == "sqlite" and not settings.data_dir.exists():
            return 0
        accounts = build_accounts(settings)
        await accounts.open()
        try:
            return len(await accounts.list_users())
        finally:
            await accounts.aclose()

    try:
        users = asyncio.run(count())
    except StoreError as error:
        return Check("users", "fail", str(error), "look at the store")
    if not users and "oidc" not in settings.auth.modes:
        return Check("users", "warn", "there are none, so nobody can log in", "tesp user add NAME")
    return Check("users", "ok", f"{users} in the store")


def _file_check(label: str, file: Path, why: str) -> Check:
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError as error:
        return Check(label, "fail", f"{file}: {error.strerror}", "correct its name, or its rights")
    if mode & _OPEN_TO_ALL:
        return Check(label, "warn", f"{file} can be read by everybody, and {why}", f"chmod o-rwx {file}")
    if mode & _OPEN_TO_GROUP & ~0o040:
        return Check(label, "warn", f"{file} can be changed by its group, and {why}", f"chmod g-wx {file}")
    return Check(label, "ok", str(file))


def _has_secrets(file: Path) -> bool:
    try:
        return any(True for _ in _secret_texts(tomllib.loads(file.read_text())))
    except (OSError, ValueError):
        return False


def _secret_texts(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _secret_texts(value)
        elif isinstance(value, str) and not key.endswith("_file"):
            is_secret = any(key.lower().endswith(word) for word in _SECRET_KEYS)
            if (is_secret and key != "private_key") or (key == "url" and _login_in(value)):
                yield value


def _secrets(settings: Settings) -> Iterator[tuple[str, str]]:
    """All secrets that the settings hold, by their names."""
    if settings.secret_key is not None:
        yield "secret_key", settings.secret_key.get_secret_value()
    for name, one in settings.credentials.items():
        for field in ("password", "bearer_token", "secret_access_key", "session_token"):
            secret = getattr(one, field)
            if secret is not None:
                yield f"credentials.{name}.{field}", secret.get_secret_value()
    for name, site in settings.destinations.items():
        if site.private_token is not None:
            yield f"destinations.{name}.private_token", site.private_token.get_secret_value()
    if settings.metrics.token is not None:
        yield "metrics.token", settings.metrics.token.get_secret_value()
    for name, receiver in settings.webhooks.receivers.items():
        yield f"webhooks.receivers.{name}.secret", receiver.secret.get_secret_value()


def _urls(settings: Settings) -> Iterator[tuple[str, str]]:
    yield "store.url", settings.store.url.get_secret_value()
    for name, site in settings.destinations.items():
        if site.url is not None:
            yield f"destinations.{name}.url", site.url.get_secret_value()


def _login_in(url: str) -> str:
    """USER:PASSWORD of a URL; "" without a password."""
    try:
        login = urlsplit(url).netloc.rpartition("@")[0]
    except ValueError:
        return ""
    return login if ":" in login else ""
