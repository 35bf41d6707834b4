"""Which destinations a task can go to with the logins that it needs: those whose workers can ask for them.

S3 is not among these: a worker that cannot ask gets signed requests with its job.
"""

from collections.abc import Collection, Mapping
from typing import Any

from tesp_api.settings import ChannelSettings, DestinationSettings, Settings
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.declared import LOGIN_SCHEMES, Declared, credentials_named_in, declared_in


def reaches_channel(site: DestinationSettings, channel: ChannelSettings) -> bool:
    """Whether the worker at this site, or this server in its place, can ask for logins."""
    if site.kind == "embedded" or site.staging == "gateway":
        return True
    return channel_url_of(site, channel) is not None


def channel_url_of(site: DestinationSettings, channel: ChannelSettings) -> str | None:
    """What workers on other machines call the channel; None if they cannot reach it.

    Behind a message broker that is only where the destination itself says so: often nothing but the broker
    is reached from there.
    """
    if site.channel_url is not None or site.kind == "amqp":
        return site.channel_url
    return channel.url if channel.port is not None else None


class Delivery:
    """Says which destinations tasks can go to with their logins. Immutable."""

    def __init__(self, settings: Settings) -> None:
        self._credentials = Credentials(settings.credentials)
        self._all = frozenset(settings.destinations)
        self.with_channel = frozenset(
            name for name, site in settings.destinations.items() if reaches_channel(site, settings.channel)
        )
        self.without_channel = sorted(self._all - self.with_channel)

    def destinations_for(
        self, document: Mapping[str, Any], *, owner: str, has_logins: bool
    ) -> frozenset[str]:
        """Where the task could go, empty if nowhere; `has_logins` says that some came in its URLs."""
        if self.with_channel == self._all:
            return self._all
        named = credentials_named_in(document)
        needs_login = has_logins or any(
            self.has_credential(declared, owner=owner, named=named) for declared in declared_in(document)
        )
        return self.with_channel if needs_login else self._all

    def has_credential(self, declared: Declared, *, owner: str, named: Collection[str]) -> bool:
        """Whether a credential of the settings is for this URL of HTTP or FTP."""
        is_asked = declared.scheme in LOGIN_SCHEMES
        return is_asked and self._credentials.find(declared.url, owner=owner, named=named) is not None
