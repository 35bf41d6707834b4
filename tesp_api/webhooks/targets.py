"""Where a notice goes, and with which secret it is signed."""

import json
from dataclasses import dataclass, field

from tesp_api.errors import SealBroken
from tesp_api.settings import Settings
from tesp_api.store.outbox import Notice
from tesp_api.webhooks.watches import About, is_own, webhook_sealer


@dataclass(frozen=True, slots=True)
class Target:
    """A receiver as it is now. `is_guarded` says that a task has named it."""

    url: str = field(repr=False)
    secret: str = field(repr=False)
    is_guarded: bool


class Unknown(Exception):
    """There is no such receiver any more; the text says why."""


class Targets:
    """Finds targets. Immutable."""

    def __init__(self, settings: Settings) -> None:
        self._webhooks = settings.webhooks
        self._sealer = webhook_sealer(settings)

    def named(self, name: str) -> Target:
        """A receiver of the settings.

        Raises:
            Unknown: they have none of that name.
        """
        found = self._webhooks.receivers.get(name)
        if found is None:
            raise Unknown(f"the settings have no webhooks.receivers.{name} any more")
        return Target(found.url.get_secret_value(), found.secret.get_secret_value(), is_guarded=False)

    def of(self, notice: Notice, about: About) -> Target:
        """Where the notice goes.

        Raises:
            Unknown: nowhere, as things are now.
        """
        if not is_own(notice.receiver):
            return self.named(notice.receiver)
        if not self._webhooks.per_task:
            raise Unknown("webhooks.per_task is off")
        try:
            url, secret = json.loads(self._sealer.open_text(notice.subject, about.sealed))
        except SealBroken:
            raise Unknown("the server's key is not the one that sealed the task's webhook") from None
        return Target(url, secret, is_guarded=True)
