"""What `tesp doctor` looks at for workers to be lent what they need: the server's key and the channel."""

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from starlette.applications import Starlette

from tesp_api.api.channel_listener import QuietConfig, listen_at, load_tls, tls_options
from tesp_api.cli.check import Check
from tesp_api.errors import SettingsError
from tesp_api.settings import ChannelSettings, Settings
from tesp_api.storage.delivery import channel_url_of
from tesp_api.storage.server_key import ServerKey

_ASK_S = 5
_ENDS_SOON = timedelta(days=14)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def key_checks(settings: Settings) -> Iterator[Check]:
    """The server's key, with which work orders are signed and logins sealed."""
    key = ServerKey(settings)
    try:
        key.check()
    except SettingsError as error:
        yield Check("server's key", "fail", str(error), f"restore {key.file}, or set secret_key")
        return
    if key.is_in_settings:
        yield Check("server's key", "ok", "secret_key of the settings")
    elif key.file.exists() and stat.S_IMODE(key.file.stat().st_mode) & 0o077:
        yield Check("server's key", "warn", f"{key.file} can be read by others", f"chmod 600 {key.file}")
    elif settings.store.kind == "mongodb":
        mend = "set the same secret_key on all servers, if there are several on this database"
        yield Check("server's key", "warn", f"{key.file}, which other servers do not have", mend)
    else:
        yield Check("server's key", "ok", f"{key.file}{'' if key.file.exists() else ' will be made'}")


def channel_checks(settings: Settings) -> Iterator[Check]:
    """Where the worker channel listens, and what sites are told of it."""
    if settings.has_embedded_pulsar:
        yield Check("worker channel", "ok", "a socket in the data folder")
    if settings.channel.port is not None:
        yield _port(settings.channel)
        if settings.channel.certificate is not None:
            yield _certificate(settings.channel, settings.channel.certificate)
    for name, site in settings.destinations.items():
        url = channel_url_of(site, settings.channel)
        if site.kind == "embedded" or site.staging == "gateway" or url is None:
            continue
        yield _way_of(name, url, site.channel_ca)


def _port(channel: ChannelSettings) -> Check:
    where = f"{channel.host} port {channel.port}"
    try:
        listen_at(channel).close()
    except SettingsError as error:
        if _answers(channel):
            return Check("worker channel", "ok", f"a running server answers at {where}")
        return Check("worker channel", "fail", str(error), "end what listens there, or choose another port")
    return Check("worker channel", "ok", f"{where} is free")


def _answers(channel: ChannelSettings) -> bool:
    """Whether what listens at the port is a worker channel; a secret is not sent, so no trust is needed."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(channel.host, channel.host)  # noqa: S104 - looked at, not bound
    scheme = "https" if channel.certificate else "http"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{channel.port}/channel/v1/logins"
    try:
        answer = httpx.post(url, json={}, verify=False, trust_env=False, timeout=_ASK_S)  # noqa: S501 - only whether a channel answers
        return answer.status_code == 401 and "work order" in answer.text
    except (httpx.HTTPError, ValueError):
        return False


def _certificate(channel: ChannelSettings, file: Path) -> Check:
    label = "certificate of the channel"
    mend = "correct channel.certificate and channel.private_key"
    try:
        load_tls(QuietConfig(Starlette(), **tls_options(channel)), channel)
        ends_at = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
    except SettingsError as error:
        return Check(label, "fail", str(error), mend)
    except ValueError as error:
        return Check(label, "fail", f"{file} begins with no certificate: {error}", mend)
    left = ends_at - datetime.now(UTC)
    found = f"{file}, good until {ends_at:%Y-%m-%d}"
    if left < timedelta():
        return Check(label, "fail", found, "renew it: workers do not trust it any more")
    return Check(label, "warn" if left < _ENDS_SOON else "ok", found, "renew it" if left < _ENDS_SOON else "")


def _way_of(name: str, url: str, ca: Path | None) -> Check:
    label = f"worker channel of {name}"
    if ca is not None:
        try:
            x509.load_pem_x509_certificates(ca.read_bytes())
        except (OSError, ValueError) as error:
            mend = f"correct destinations.{name}.channel_ca"
            return Check(label, "fail", f"{ca} is no authority's certificate: {error}", mend)
    if url.startswith("http://") and urlsplit(url).hostname not in _LOOPBACK:
        mend = "give the channel a certificate, and an https:// URL"
        return Check(label, "warn", f"{url}: secrets travel in the clear", mend)
    return Check(label, "ok", url)
