"""What goes with a job so that its worker can reach storage: a way to ask, or signed requests, or nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tesp_api.errors import ChannelError, StagingRefused
from tesp_api.settings import CredentialSettings, DestinationSettings, Settings
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.declared import S3_SCHEME, credentials_named_in, declared_in
from tesp_api.storage.delivery import channel_url_of
from tesp_api.storage.logins import Logins
from tesp_api.storage.presigned import presign_task
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.storage.work_orders import WorkOrders
from tesp_api.store.base import Task


@dataclass(frozen=True, slots=True)
class Lent:
    """These parts of task.json; at most one of the first two is there."""

    channel: Mapping[str, Any] | None = None
    lent: Mapping[str, Any] | None = None
    report: Mapping[str, Any] | None = None
    permits: Mapping[str, Any] | None = None


NOTHING = Lent()


class Lender(Protocol):
    """Decides what a job gets."""

    async def lend(self, task: Task, destination: str) -> Lent:
        """What goes with the present attempt of a task to a destination; asked when its job is launched.

        Raises:
            StagingRefused: the job would be of no use there; the text says why.
        """

    def gives_permits(self, destination: str) -> bool:
        """Whether workers there are to ask before they begin: stored with the job, to hold for its life."""


class StorageLender:
    """Lends by the settings: a channel where the site can reach one, else what can be signed beforehand.

    Only a task with an S3 URL, or with one for which there is a login, gets any of it: all others run without
    the server, wherever they are. But whoever reaches the channel from another machine reports there, and
    asks for permits. So do workers of an embedded Pulsar if other servers may drive their tasks.
    """

    def __init__(
        self,
        settings: Settings,
        work_orders: WorkOrders,
        credentials: Credentials,
        logins: Logins,
        signer: S3Signer,
        *,
        socket: Path,
    ) -> None:
        """`socket` is where workers of an embedded Pulsar reach the channel."""
        self._settings = settings
        self._work_orders = work_orders
        self._credentials = credentials
        self._logins = logins
        self._signer = signer
        self._socket = socket

    async def lend(self, task: Task, destination: str) -> Lent:
        """Nothing where the gateway moves the files: this server asks for nobody."""
        site = self._settings.destinations[destination]
        is_served = site.staging == "gateway"
        has_s3 = not is_served and any(one.scheme == S3_SCHEME for one in declared_in(task.request))
        needs_any = has_s3 or (not is_served and self._has_logins(task))
        asks = task.job is not None and task.job.asks
        url = self._channel_of(site)
        if url is None:
            return Lent(lent=await self._presign(task)) if has_s3 else NOTHING
        token = self._work_orders.token_for(task.id, task.attempt)
        try:
            reach = {"url": url, "ca_pem": _read_ca(destination, site), "token": token}
        except StagingRefused:
            if needs_any or asks:
                raise
            return NOTHING
        return Lent(
            channel=reach if needs_any else None,
            report=None if is_served or site.kind == "embedded" else reach,
            permits=reach if asks else None,
        )

    def gives_permits(self, destination: str) -> bool:
        """Where one process owns Pulsar and store, nobody else can drive the task, and no time is lost."""
        site = self._settings.destinations[destination]
        if site.kind == "embedded":
            return self._settings.store.kind == "mongodb"
        if site.staging == "gateway" or self._channel_of(site) is None:
            return False
        try:
            _read_ca(destination, site)
        except StagingRefused:
            return False
        return True

    async def _presign(self, task: Task) -> dict[str, Any]:
        named = credentials_named_in(task.request)

        def find(url: str) -> CredentialSettings | None:
            found = self._credentials.find(url, owner=task.owner, named=named)
            return found.rule if found else None

        return await presign_task(task.request, find, self._signer)

    def _channel_of(self, site: DestinationSettings) -> str | None:
        if site.kind == "embedded":
            return f"unix:{self._socket}"
        return channel_url_of(site, self._settings.channel)

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
        name = f"destinations.{destination}.channel_ca"
        raise StagingRefused(name, f"{site.channel_ca} cannot be read: {error}") from None
