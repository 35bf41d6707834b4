"""What workers send over the channel, read and checked."""

import json
from typing import Any

from starlette.requests import Request

from tesp_api.errors import BodyTooLarge, Fault, InvalidRequest
from tesp_api.storage.s3_grants import MAY_BE_EMPTY, NEEDED, PARAMETERS, Ask

BODY_MAX_BYTES = 1024**2
MOST_ASKS = 500

_MOST_FAULTS = 20


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
    present = {name for name, value in parameters.items() if value or name in MAY_BE_EMPTY}
    if missing := NEEDED.get(operation, frozenset()) - present:
        return Fault(f"{field}.parameters", f"must have {min(missing)}, and not empty")
    return None
