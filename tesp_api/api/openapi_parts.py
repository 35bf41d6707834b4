"""What the operations of the OpenAPI document are made of: parameters, answers, refusals."""

from typing import Any

from tesp_api.api import idempotency
from tesp_api.tes.tasks import View

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
NUMBER_FROM_0: Json = {"type": "integer", "minimum": 0}


def of(component: str) -> Json:
    """A reference to a schema."""
    return {"$ref": f"#/components/schemas/{component}"}


def parameter(name: str, schema: Json, description: str) -> Json:
    """A parameter of the query."""
    return {"name": name, "in": "query", "description": description, "schema": schema}


def in_path(name: str, schema: Json, description: str) -> Json:
    """A parameter in the path."""
    return parameter(name, schema, description) | {"in": "path", "required": True}


def in_json(description: str, *components: str) -> Json:
    """An answer in JSON, of one of the components."""
    schema = of(components[0]) if len(components) == 1 else {"anyOf": [of(name) for name in components]}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def operation(name: str, about: tuple[str, str, str], answer: Json, refusals: str, **more: Any) -> Json:
    """An operation; `about` is its tag, its summary and its description, `refusals` their statuses."""
    tag, summary, description = about
    refused = {
        status: {"$ref": f"#/components/responses/{_REFUSAL_OF[status]}"} for status in refusals.split()
    }
    return {
        "tags": [tag],
        "operationId": name,
        "summary": summary,
        "description": description,
        **more,
        "responses": {"200": answer} | refused,
    }


def extension(name: str, summary: str, text: str, answer: Json, refusals: str = "", **more: Any) -> Json:
    """An operation beyond the standard; `refusals` are those that not every one of these has."""
    about = ("Extensions", summary, text)
    return operation(name, about, answer, f"{refusals} 429 503 default", **more)


PARAMETERS: Json = {
    "view": parameter(
        "view",
        {"type": "string", "enum": [view.value for view in View], "default": View.MINIMAL.value},
        "How much to show. `MINIMAL`: id and state. `BASIC`: all but the inputs' content, the executors' "
        "stdout and stderr, and system_logs. `FULL`: all. Upper or lower case.",
    ),
    "idempotencyKey": parameter(
        idempotency.HEADER,
        {"type": "string", "maxLength": idempotency.MAX_LENGTH, "pattern": idempotency.PATTERN},
        "A name for this request, made up by the client, best a UUID. A request that may not have arrived "
        "can be sent again with the same name: it creates nothing twice, and answers the same id. The name "
        "is forgotten when the task, or run, is deleted. Quotes around it are left out.",
    )
    | {"in": "header"},
}
"""The parameters that several operations have, by the name of their component."""

VIEW: Json = {"$ref": "#/components/parameters/view"}
IDEMPOTENCY_KEY: Json = {"$ref": "#/components/parameters/idempotencyKey"}
TASK_ID = in_path("id", TEXT, "The task's id, as CreateTask answered it.")

_RETRY_AFTER = {"description": "Seconds to wait.", "schema": {"type": "integer"}}

REFUSALS: Json = {
    "Invalid": in_json(
        "Something in the request is wrong: `faults` name all of it, field by field.", "Error"
    ),
    "NotFound": in_json("There is no such task, or nothing by that name in it.", "Error"),
    "Conflict": in_json(
        "The task or run has not ended yet, or is needed by another one; or the Idempotency-Key belongs to "
        "another one, with another body.",
        "Error",
    ),
    "TooLarge": in_json(
        "The body is larger than the server takes (8 MiB, unless it is set otherwise).", "Error"
    ),
    "BeyondTheEnd": in_json(
        "The offset is greater than what the log has; the headers say how much.", "Error"
    ),
    "TooMany": in_json(
        "As much as the server lets one user, or all, have or ask for: `limit` says which limit it is.",
        "Error",
    )
    | {"headers": {"Retry-After": _RETRY_AFTER}},
    "Unavailable": in_json("The store does not answer now.", "Error")
    | {"headers": {"Retry-After": _RETRY_AFTER}},
    "Failure": in_json("Any other failure, in the same form.", "Error"),
}
"""The answers to requests that fail, by the name of their component."""

_REFUSAL_OF = {
    "400": "Invalid",
    "404": "NotFound",
    "409": "Conflict",
    "413": "TooLarge",
    "416": "BeyondTheEnd",
    "429": "TooMany",
    "503": "Unavailable",
    "default": "Failure",
}
