"""What would become of a task, without creating it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tesp_api.api.answers import json_answer
from tesp_api.api.auth.identity import Action, sender
from tesp_api.api.auth.permissions import require
from tesp_api.api.creation import Creation
from tesp_api.errors import Fault, InvalidRequest
from tesp_api.settings import Settings
from tesp_api.tes.paths import is_within, normal_path
from tesp_api.tes.urls import local_path
from tesp_api.tes.validation import read_task

NextDestination = Callable[[Mapping[str, Any], str, bool], str]
"""Names the destination to which a task that came now would go: by its document, its owner, and whether its
URLs brought logins."""


class DryRunEndpoint:
    """`POST /tesp/v1/tasks:validate`."""

    def __init__(
        self, settings: Settings, creation: Creation, next_destination: NextDestination | None
    ) -> None:
        """Where no `next_destination` is given, nothing is said about destinations."""
        self._settings = settings
        self._creation = creation
        self._next_destination = next_destination

    def routes(self, prefix: str) -> list[Route]:
        """The endpoint as a route."""
        return [Route(f"{prefix}/tasks:validate", self.validate_task, methods=["POST"])]

    async def validate_task(self, request: Request) -> Response:
        """The faults of the task in the body, and what would happen to one that has none."""
        who = sender(request)
        require(who, Action.SUBMIT)
        body = await request.body()
        try:
            new = self._creation.admit(read_task(body), who)
        except InvalidRequest as error:
            return json_answer(_report(faults=error.faults))
        if self._next_destination is None:
            return json_answer(_report(warnings=new.warnings))
        destination = self._next_destination(new.document, who.owner, bool(new.logins))
        roots = [str(root.path) for root in self._settings.destinations[destination].file_roots]
        warnings = (*new.warnings, *_beyond_roots(new.document, roots, destination))
        return json_answer(_report(warnings=warnings) | {"destination": destination})


def _report(faults: list[Fault] | None = None, warnings: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "valid": not faults,
        "faults": [fault.as_json() for fault in faults or ()],
        "warnings": list(warnings),
    }


def _beyond_roots(document: Mapping[str, Any], roots: list[str], destination: str) -> Iterator[str]:
    """What the site would refuse, as far as that can be seen from here: links are followed there alone."""
    for kind in ("inputs", "outputs"):
        for at, item in enumerate(document.get(kind, ())):
            url = "" if item.get("content") else item.get("url", "")
            path = local_path(url) if url else None
            if path is not None and not any(is_within(path, normal_path(root)) for root in roots):
                yield f"{kind}[{at}].url lies in no folder that tasks may name at {destination}: " + (
                    f"it has {', '.join(roots)}" if roots else "it has none"
                )
