"""From a request's body to a task that can be stored, or to all that is wrong with it at once."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tesp_api.errors import Fault, InvalidRequest
from tesp_api.tes.backend_parameters import leave_out_unsupported
from tesp_api.tes.json_body import BODY, read_json
from tesp_api.tes.moving_parameters import moving_faults
from tesp_api.tes.placement import placement_faults
from tesp_api.tes.tasks import TaskDocument
from tesp_api.tes.userinfo import UrlLogin, split_off_logins
from tesp_api.tes.webhook_parameters import OwnWebhook, split_off_webhook

_MOST_FAULTS = 100

_MESSAGES = {
    "missing": "is required",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "enum": "must be FILE or DIRECTORY",
    "too_long": "must have at most {max_length} items",
}
"""What pydantic finds, in our words. Errors with other types carry their message themselves."""


@dataclass(frozen=True, slots=True)
class NewTask:
    """A valid task: the `document` to store (TES JSON), and `warnings` that its system_logs will show.

    `logins` are what stood before the @ in its URLs, and `webhook` what its backend parameters said of one:
    the document no longer has them.
    """

    document: dict[str, Any]
    warnings: tuple[str, ...] = ()
    logins: tuple[UrlLogin, ...] = field(default=(), repr=False)
    webhook: OwnWebhook | None = field(default=None, repr=False)


def read_task(body: bytes) -> NewTask:
    """The task in a request's body, whatever its content type said.

    Raises:
        InvalidRequest: names every fault, at most a hundred.
    """
    return validate_task(read_json(body))


def validate_task(data: Any) -> NewTask:
    """The task in parsed JSON, whose strings are all valid Unicode (`read_json` sees to that).

    Raises:
        InvalidRequest: names every fault, at most a hundred.
    """
    if not isinstance(data, dict):
        raise InvalidRequest([Fault(BODY, "must be a JSON object with the fields of tesTask")])
    faults: list[Fault] = []
    document: dict[str, Any] = {}
    try:
        document = TaskDocument.model_validate(data).model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        faults += map(_fault, error.errors(include_url=False))
    faults += placement_faults(data)
    _leave_out_empty_contents(document)
    warnings = leave_out_unsupported(document, faults)
    if not faults:
        faults += moving_faults(document)
    logins, webhook = split_off_logins(document, faults), split_off_webhook(document, faults)
    if faults:
        raise InvalidRequest(_first(faults))
    return NewTask(document, warnings, logins, webhook)


def _leave_out_empty_contents(document: dict[str, Any]) -> None:
    """Take an empty content out of an input that has a url, so that what is stored has one source only.

    Clients built on protobuf send both. Source: TES 1.1, tesInput.content: the url is ignored if the
    content is not empty.
    """
    for item in document.get("inputs", ()):
        if item.get("url") and item.get("content") == "":
            del item["content"]


def _fault(error: ErrorDetails) -> Fault:
    """One of pydantic's errors as a fault."""
    kind, names = error["type"], error["loc"]
    if error["input"] is None and names and isinstance(names[-1], str):
        kind = "missing"
    message = _MESSAGES.get(kind, error["msg"])
    return Fault(_field(names), message.format_map(error["ctx"]) if kind == "too_long" else message)


def _field(names: Iterable[str | int]) -> str:
    """The path of a field as people write it: `executors[0].image`."""
    path = "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in names)
    return path.removeprefix(".")


def _first(faults: list[Fault]) -> list[Fault]:
    first = list(islice(faults, _MOST_FAULTS))
    if len(faults) > len(first):
        first.append(Fault(BODY, f"has {len(faults) - len(first)} more faults"))
    return first
