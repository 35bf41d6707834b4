"""Which URLs tasks may name: their schemes, hosts and buckets, checked when a task is created.

Addresses that are spelled out are checked too. What names lead to, the worker checks when it connects:
only the site can resolve some of them.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from tesp_api.errors import Fault
from tesp_api.settings import CredentialSettings, Settings
from tesp_api.storage.s3_signing import endpoint_of
from tesp_api.tes.urls import scheme_of
from tesp_api.worker.rules import Rules, refusal


def worker_rules(settings: Settings) -> Rules:
    """The settings' rules as the worker keeps them; places that S3 credentials name are trusted."""
    places = (place for one in settings.credentials.values() for place in _places_of(one))
    named = {name: tuple(map(str, getattr(settings.transfers, name))) for name in Rules._fields[:-1]}
    return Rules(**named, trusted=tuple(dict.fromkeys(places)))


def _places_of(credential: CredentialSettings) -> Iterator[str]:
    """Where requests of S3 go that are signed with it: "host:port", with a wildcard for buckets' own hosts.

    A bucket whose name has a dot never has its own.
    """
    if scheme_of(credential.url_prefix) != "s3":
        return
    parts = urlsplit(endpoint_of(credential))
    place = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    yield place
    if not credential.path_style:
        yield f"*.{place}"


class UrlRules:
    """Says what is wrong with the places that a task names. Immutable."""

    def __init__(self, settings: Settings) -> None:
        transfers = settings.transfers
        self._rules = worker_rules(settings)
        self._buckets = (transfers.allow_buckets, transfers.deny_buckets)

    def faults(self, document: Mapping[str, Any]) -> Iterator[Fault]:
        """Every refusal in the document of a valid task, by its field."""
        for kind in ("inputs", "outputs"):
            for at, item in enumerate(document.get(kind, ())):
                url = "" if item.get("content") else item.get("url", "")
                if url and (fault := self.fault(url)):
                    yield Fault(f"{kind}[{at}].url", fault)

    def fault(self, url: str) -> str:
        """Why a valid URL is refused, naming the setting and what it allows; "" if it is not."""
        scheme = scheme_of(url) or "file"
        if fault := self._rules.scheme_fault(scheme):
            return fault
        if scheme == "file":
            return ""
        name = urlsplit(url).hostname or ""
        if scheme == "s3":
            bucket = unquote(url.partition("://")[2].partition("/")[0])
            return refusal("the bucket", "buckets", (bucket,), *self._buckets)
        return self._rules.host_fault(name)
