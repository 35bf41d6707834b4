"""What goes with a job so that its worker can reach storage: a way to ask, or signed requests, or nothing."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tesp_api.errors import ChannelError, PulsarRefused
from tesp_api.settings import DestinationSettings, Settings
from tesp_api.storage.declared import S3_SCHEME, declared_in
from tesp_api.storage.logins import Logins
from tesp_api.storage.work_orders import WorkOrders
from tesp_api.store.base import Task

Presign = Callable[[Task], Awaitable[dict[str, Any]]]
"""Signs beforehand what a task will need of S3."""


@dataclass(frozen=True, slots=True)
class Lent:
    """The parts `channel` and `lent` of task.json; at most one of them is there."""

    channel: Mapping[str, Any] | None = None
    lent: Mapping[str, Any] | None = None


NOTHING = Lent()


class Lender(Protocol):
    """Decides what a job gets."""

    async def lend(self, task: Task, destination: str) -> Lent:
        """What goes with the present attempt of a task to a destination; asked when its job is launched.

        Raises:
            PulsarRefused: the job would be of no use there; the text says why.
        """


class StorageLender:
    """Lends by the settings: a channel where the site can reach one, else what can be signed beforehand.

    Only a task with an S3 URL, or with one for which there is a login, gets any of it. All others run without
    the server, wherever they are, and no token lies in their job directories.
    """

    def __init__(
        self, settings: Settings, work_orders: WorkOrders, logins: Logins, presign: Presign, socket: Path
    ) -> None:
        self._settings = settings
        self._work_orders = work_orders
        self._logins = logins
        self._presign = presign
        self._socket = socket

    async def lend(self, task: Task, destination: str) -> Lent:
        """Nothing where the gateway moves the files: this server asks for nobody."""
        site = self._settings.destinations[destination]
        has_s3 = any(declared.scheme == S3_SCHEME for declared in declared_in(task.request))
        if site.staging == "gateway" or not (has_s3 or self._has_logins(task)):
            return NOTHING
        url = self._channel_of(site)
        if url is not None:
            token = self._work_orders.token_for(task.id, task.attempt)
            return Lent(channel={"url": url, "ca_pem": _read_ca(destination, site), "token": token})
        return Lent(lent=await self._presign(task)) if has_s3 else NOTHING

    def _channel_of(self, site: DestinationSettings) -> str | None:
        if site.kind == "embedded":
            return f"unix:{self._socket}"
        return site.channel_url or self._settings.channel.url

    def _has_logins(self, task: Task) -> bool:
        try:
            return bool(self._logins.of(task))
        except ChannelError:  # the worker asks, and is told why
            return True


def _read_ca(destination: str, site: DestinationSettings) -> str | None:
    if site.channel_ca is None or site.kind == "embedded":
        return None
    try:
        return site.channel_ca.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PulsarRefused(
            f"destinations.{destination}.channel_ca, {site.channel_ca}, cannot be read: {error}"
        ) from None
