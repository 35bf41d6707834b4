"""What the settings say about where a task can go, whatever the load: needs, faults and warnings."""

from collections.abc import Iterator, Mapping
from typing import Any

from tesp_api.errors import Fault
from tesp_api.runner.deadlines import deadline_faults
from tesp_api.runner.destinations import refusals
from tesp_api.runner.needs import Needs, needs_of, parameter_faults
from tesp_api.runner.retries import attempt_faults
from tesp_api.runner.submit_params import passes_walltime
from tesp_api.settings import Settings
from tesp_api.storage.delivery import Delivery

_MOST_SHOWN = 10


class Routing:
    """Reads tasks against the destinations of the settings. Immutable."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._delivery = Delivery(settings)

    def needs(self, document: Mapping[str, Any], owner: str, has_logins: bool) -> Needs:
        """What the task asks of a destination; `has_logins` says that logins came in its URLs."""
        deliverable = self._delivery.destinations_for(document, owner=owner, has_logins=has_logins)
        return needs_of(document, self._settings, deliverable)

    def faults(self, document: Mapping[str, Any], owner: str, has_logins: bool) -> Iterator[Fault]:
        """What is wrong with a new task that no destination can ever take: each of them, with its limit.

        That logins can be delivered nowhere is not said here: the rules for credentials say where.
        """
        found = list(parameter_faults(document, self._settings))
        yield from found
        yield from deadline_faults(document, self._settings.deadlines)
        yield from attempt_faults(document, self._settings.retries)
        needs = self.needs(document, owner, has_logins)
        refused = refusals(needs, self._settings.destinations)
        if not found and needs.deliverable and len(refused) == len(self._settings.destinations):
            yield Fault("resources", refusal_text(needs, refused))

    def warnings(self, document: Mapping[str, Any], owner: str, has_logins: bool) -> Iterator[str]:
        """Which destinations that may get a new task cannot do all that it asks."""
        needs = self.needs(document, owner, has_logins)
        if needs.walltime_s is None:
            return
        refused = refusals(needs, self._settings.destinations)
        deaf = [
            name
            for name, site in self._settings.destinations.items()
            if name not in refused and not passes_walltime(site)
        ]
        if deaf:
            yield f"walltime_s has no effect at {', '.join(deaf)}: no scheduler there is told of it"


def refusal_text(needs: Needs, refused: Mapping[str, str]) -> str:
    """Why no destination can take a task; of a task that names one, why that cannot."""
    named = needs.destination
    own = {named: refused[named]} if named is not None and named in refused else refused
    shown = [f"{name}: {reason}" for name, reason in list(own.items())[:_MOST_SHOWN]]
    more = [f"and {len(own) - _MOST_SHOWN} more"] if len(own) > _MOST_SHOWN else []
    return "no destination can ever take this task: " + "; ".join(shown + more)
