"""What workers send over the channel, read and checked."""

import base64
import json
import re
from typing import Any, NamedTuple, cast

from starlette.requests import Request

from tesp_api.errors import BodyTooLarge, Fault, InvalidRequest
from tesp_api.storage.s3_grants import MAY_BE_EMPTY, NEEDED, PARAMETERS, Ask
from tesp_api.store.base import PermitStep

BODY_MAX_BYTES = 1024**2
MOST_ASKS = 500
REPORT_MAX_BYTES = 8 * 1024**2
"""Of one file; of what is larger a worker sends nothing."""

_MOST_FAULTS = 20
_WORKER = re.compile(r"[0-9a-f]{8,64}")
_REPORTED = re.compile(r"heartbeat|events\.ndjson|result\.json|logs/[0-9]{1,6}\.(stdout|stderr)\.[0-9]{6,9}")


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        BodyTooLarge: it has more than BODY_MAX_BYTES; no more than that is kept in memory.
        InvalidRequest: it is something else.
    """
    body = bytearray()
    async for data in request.stream():
        body += data
        if len(body) > BODY_MAX_BYTES:
            raise BodyTooLarge(BODY_MAX_BYTES)
    try:
        document = json.loads(bytes(body))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InvalidRequest([Fault("body", "must be a JSON object")])
    return document


def read_asks(document: dict[str, Any]) -> list[Ask]:
    """The requests to be signed.

    Raises:
        InvalidRequest: one of them is none, or they are too many.
    """
    asks = document.get("asks")
    if not isinstance(asks, list) or not 1 <= len(asks) <= MOST_ASKS:
        raise InvalidRequest([Fault("asks", f"must be a list of 1 to {MOST_ASKS}")])
    faults = [fault for at, item in enumerate(asks) if (fault := _ask_fault(f"asks[{at}]", item))]
    if faults:
        raise InvalidRequest(faults[:_MOST_FAULTS])
    return [Ask(item["operation"], item["url"], item.get("parameters", {})) for item in asks]


def read_permit(document: dict[str, Any]) -> tuple[str, PermitStep]:
    """Which worker asks, and for what.

    Raises:
        InvalidRequest: one of them is wrong.
    """
    worker, step = document.get("worker"), document.get("step")
    if not isinstance(worker, str) or not _WORKER.fullmatch(worker):
        raise InvalidRequest([Fault("worker", "must be 8 to 64 hexadecimal digits")])
    if step not in ("start", "commit"):
        raise InvalidRequest([Fault("step", "must be start or commit")])
    return worker, cast(PermitStep, step)


class ReportPart(NamedTuple):
    """What a worker's report has of one file of its job, from byte `offset` on."""

    name: str
    offset: int
    data: bytes


def read_report(document: dict[str, Any]) -> list[ReportPart]:
    """The parts of files that came with a report, in their order.

    Raises:
        InvalidRequest: one of them is none, or of a file that no worker reports.
    """
    files = document.get("files", [])
    if not isinstance(files, list):
        raise InvalidRequest([Fault("files", "must be a list")])
    parts: list[ReportPart] = []
    for at, item in enumerate(files):
        try:
            part = ReportPart(item["name"], item["offset"], base64.b64decode(item["data"], validate=True))
            is_right = (
                _REPORTED.fullmatch(part.name)
                and type(part.offset) is int
                and 0 <= part.offset <= REPORT_MAX_BYTES
            )
        except (KeyError, TypeError, ValueError):
            is_right = None
        if not is_right:
            what = "must have the name of a file that workers report, an offset, and data in base64"
            raise InvalidRequest([Fault(f"files[{at}]", what)])
        parts.append(part)
    return parts


def _ask_fault(field: str, item: Any) -> Fault | None:
    if not isinstance(item, dict) or not isinstance(item.get("url"), str):
        return Fault(field, "must be an object with operation, url and parameters")
    operation, parameters = item.get("operation"), item.get("parameters", {})
    if not isinstance(operation, str) or operation not in PARAMETERS:
        return Fault(f"{field}.operation", f"must be one of {', '.join(PARAMETERS)}")
    if not isinstance(parameters, dict) or not all(isinstance(value, str) for value in parameters.values()):
        return Fault(f"{field}.parameters", "must be an object whose values are strings")
    if foreign := parameters.keys() - PARAMETERS[operation]:
        return Fault(f"{field}.parameters", f"{min(foreign)[:80]!r} is none of {operation}")
    if any("\ud800" <= letter <= "\udfff" for value in parameters.values() for letter in value):
        return Fault(f"{field}.parameters", "has letters that are none of Unicode")
    present = {name for name, value in parameters.items() if value or name in MAY_BE_EMPTY}
    if missing := NEEDED.get(operation, frozenset()) - present:
        return Fault(f"{field}.parameters", f"must have {min(missing)}, and not empty")
    return None
