"""From a request's body to a task that can be stored, or to all that is wrong with it at once."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from tesp_api.errors import Fault, InvalidRequest
from tesp_api.tes.placement import placement_faults
from tesp_api.tes.tasks import SUPPORTED_BACKEND_PARAMETERS, TaskDocument

_MOST_FAULTS = 100
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BODY = "body"

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
    """A valid task: the `document` to store (TES JSON), and `warnings` that its system_logs will show."""

    document: dict[str, Any]
    warnings: tuple[str, ...] = ()


def read_task(body: bytes) -> NewTask:
    """The task in a request's body, whatever its content type said.

    Raises:
        InvalidRequest: names every fault, at most a hundred.
    """
    try:
        data = from_json(body.removeprefix(_BYTE_ORDER_MARK), allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest([Fault(_BODY, f"is not valid JSON: {error}")]) from None
    return validate_task(data)


def validate_task(data: Any) -> NewTask:
    """The task in parsed JSON, whose strings are all valid Unicode (`from_json` sees to that).

    Raises:
        InvalidRequest: names every fault, at most a hundred.
    """
    if not isinstance(data, dict):
        raise InvalidRequest([Fault(_BODY, "must be a JSON object with the fields of tesTask")])
    faults: list[Fault] = []
    document: dict[str, Any] = {}
    try:
        document = TaskDocument.model_validate(data).model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        faults += map(_fault, error.errors(include_url=False))
    faults += placement_faults(data)
    _leave_out_empty_contents(document)
    warnings = _leave_out_unsupported_parameters(document, faults)
    if faults:
        raise InvalidRequest(_first(faults))
    return NewTask(document, warnings)


def _leave_out_empty_contents(document: dict[str, Any]) -> None:
    """Take an empty content out of an input that has a url, so that what is stored has one source only.

    Clients built on protobuf send both. Source: TES 1.1, tesInput.content: the url is ignored if the
    content is not empty.
    """
    for item in document.get("inputs", ()):
        if item.get("url") and item.get("content") == "":
            del item["content"]


def _leave_out_unsupported_parameters(document: dict[str, Any], faults: list[Fault]) -> tuple[str, ...]:
    """Take the backend parameters that we do not know out of the document, saying so.

    Source: TES 1.1, tesResources.backend_parameters: unsupported keys are neither stored nor returned,
    a warning is logged, and with backend_parameters_strict the task is refused.
    """
    resources = document.get("resources", {})
    sent = resources.get("backend_parameters", {})
    kept = {key: value for key, value in sent.items() if key.lower() in SUPPORTED_BACKEND_PARAMETERS}
    left_out = [key for key in sent if key not in kept]
    if not left_out:
        return ()
    known = ", ".join(SUPPORTED_BACKEND_PARAMETERS) or "none"
    if resources.get("backend_parameters_strict"):
        said = f"is not supported (supported: {known}), and backend_parameters_strict is set"
        faults += (Fault(f"resources.backend_parameters.{key[:80]}", said) for key in left_out)
        return ()
    resources["backend_parameters"] = kept
    if not kept:
        del resources["backend_parameters"]
    return tuple(
        f"the backend parameter {key[:80]!r} is not supported and was left out (supported: {known})"
        for key in left_out
    )


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
        first.append(Fault(_BODY, f"has {len(faults) - len(first)} more faults"))
    return first
