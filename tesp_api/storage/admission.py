"""Admission: what a valid task must pass, by this server's settings, before it is stored.

The same for tasks that are created one by one, in bulk, and only looked at.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import Any, Protocol

from tesp_api.errors import Fault, InvalidRequest
from tesp_api.settings import Settings
from tesp_api.storage.credential_rules import CredentialRules
from tesp_api.storage.url_rules import UrlRules
from tesp_api.storage.work_places import WorkPlaces
from tesp_api.tes.validation import NewTask

_MOST_FAULTS = 100
_MOST_WARNINGS = 10
_WEBHOOK = "resources.backend_parameters.webhook_url"


class Rules(Protocol):
    """Rules for valid tasks, by their document, their owner, and whether logins came in their URLs."""

    def faults(self, document: Mapping[str, Any], owner: str, has_logins: bool) -> Iterator[Fault]:
        """What keeps the task out, by field."""

    def warnings(self, document: Mapping[str, Any], owner: str, has_logins: bool) -> Iterator[str]:
        """What its user should know."""


class Admission:
    """Lets tasks in, or says what keeps them out; `routing` says whether any destination can take them."""

    def __init__(self, settings: Settings, routing: Rules | None = None) -> None:
        self._routing = routing
        self._url_rules = UrlRules(settings)
        self._credential_rules = CredentialRules(settings)
        self._work_places = WorkPlaces(settings)
        self._webhooks = settings.webhooks

    def admit(self, new: NewTask, owner: str, own_places: Collection[str] = ()) -> NewTask:
        """The task as it may be stored for `owner`, with what its user should know before it runs.

        `own_places` are the folders of runs that a step of a workflow run may name.

        Raises:
            InvalidRequest: names every place and credential that the task may not name, at most a hundred.
        """
        known = (new.document, owner, bool(new.logins))
        found = chain(
            self._url_rules.faults(new.document),
            self._work_places.faults(new.document, own_places),
            self._credential_rules.faults(new, owner),
            self._webhook_faults(new),
        )
        routed = self._routing.faults(*known) if self._routing else ()
        faults = list(islice(chain(found, routed), _MOST_FAULTS))
        if faults:
            raise InvalidRequest(faults)
        warnings = [*islice(self._credential_rules.warnings(new, owner), _MOST_WARNINGS)]
        warnings += self._routing.warnings(*known) if self._routing else ()
        if new.webhook is not None:
            warnings.append(f"its states are told to {new.webhook.place}, by webhook")
        return replace(new, warnings=(*new.warnings, *warnings))

    def _webhook_faults(self, new: NewTask) -> Iterator[Fault]:
        """Why the task's own webhook may not be; where a name leads to is looked at when it is sent."""
        if new.webhook is None:
            return
        if not self._webhooks.per_task:
            yield Fault(_WEBHOOK, "may not be given here: webhooks.per_task is off in the server's settings")
        elif fault := self._url_rules.fault(new.webhook.url):
            yield Fault(_WEBHOOK, fault)
