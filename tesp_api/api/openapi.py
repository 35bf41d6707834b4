"""The OpenAPI document that the server serves: the standard's own, under both prefixes, plus our endpoints.

The standard's document lies beside this file, unchanged but for being JSON, so the descriptions, names
and schemas are the official ones by construction.
Source: ga4gh/task-execution-schemas, TES 1.1.0; ga4gh-discovery/ga4gh-service-info, 1.0.0.
"""

import json
from copy import deepcopy
from importlib.resources import files
from typing import Any

from tesp_api.tes.states import State

Json = dict[str, Any]

_SERVICE_INFO = (
    "https://raw.githubusercontent.com/ga4gh-discovery/ga4gh-service-info/v1.0.0/service-info.yaml#"
)

_TITLE = "TESP: GA4GH Task Execution Service"
_DESCRIPTION = """Runs containers as tasks, by the GA4GH standard TES 1.1.

To try it, open `POST /ga4gh/tes/v1/tasks` and execute the example as it stands; then give the id that it
answers to `GET /ga4gh/tes/v1/tasks/{id}`, with the view FULL to see what the task printed."""

EXAMPLE_TASK: Json = {
    "name": "Hello",
    "description": "Counts the words of an inline input",
    "inputs": [{"path": "/data/words.txt", "content": "to be or not to be\n"}],
    "executors": [
        {"image": "alpine", "command": ["sh", "-c", "tr ' ' '\\n' < /data/words.txt | sort | uniq -c"]}
    ],
    "resources": {"cpu_cores": 1, "ram_gb": 0.5},
    "tags": {"project": "demo"},
}
"""Runs as it stands: it needs no storage, and a program that every image and host has."""

_ERROR: Json = {
    "type": "object",
    "required": ["status_code", "msg"],
    "properties": {
        "status_code": {"type": "integer", "example": 400},
        "msg": {"type": "string"},
        "faults": {
            "type": "array",
            "description": "All that is wrong with the request, where the request is at fault.",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {
                    "field": {"type": "string", "example": "executors[0].image"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}


def openapi_document(version: str) -> Json:
    """The document for this server, whose own version is `version`."""
    standard = _load("tes_1_1.openapi.json")
    components = standard["components"]
    del components["securitySchemes"]  # nobody has to log in
    components["schemas"] |= {"Error": _ERROR} | _load("service_info_1_0.openapi.json")
    info = standard["info"] | {"title": _TITLE, "version": version, "description": _DESCRIPTION}
    return {
        "openapi": standard["openapi"],
        "info": {key: value for key, value in info.items() if not key.startswith("x-")},
        "tags": [
            {"name": "TaskService", "description": "TES 1.1"},
            {"name": "TaskService at /v1", "description": "The same for clients of TES 1.0"},
            {"name": "Extensions", "description": "What TESP offers beyond the standard"},
            {"name": "Health", "description": "For whoever runs the server"},
        ],
        "paths": _standard_paths(standard["paths"]) | _extension_paths() | _health_paths(),
        "components": _local_references(components),
    }


def _load(name: str) -> Json:
    document: Json = json.loads(files(__package__).joinpath(name).read_text(encoding="utf-8"))
    return document


def _local_references(value: Any) -> Any:
    """`value` with references to the GA4GH's server pointing into the document itself."""
    if isinstance(value, dict):
        return {key: _local_references(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_local_references(item) for item in value]
    return value.replace(_SERVICE_INFO, "#") if isinstance(value, str) else value


def _standard_paths(paths: Json) -> Json:
    shown: Json = {}
    for prefix, suffix in (("/ga4gh/tes/v1", ""), ("/v1", "_v1")):
        for path, operations in deepcopy(paths).items():
            shown[prefix + path] = operations
            for operation in operations.values():
                _adapt(operation, suffix)
    return shown


def _adapt(operation: Json, suffix: str) -> None:
    """Fit one of the standard's operations to this server."""
    operation.pop("security", None)
    operation["operationId"] += suffix
    if suffix:
        operation["tags"] = ["TaskService at /v1"]
    operation["responses"]["default"] = _error_response()
    for parameter in operation.get("parameters", ()):
        if parameter.get("name") == "state":
            # tesState has a default and an example, which a browser would fill in as a filter.
            parameter["schema"] = {"type": "string", "enum": list(State)}
        if parameter.get("name") == "page_size":
            parameter["schema"] |= {"minimum": 1, "maximum": 2047, "default": 256}
    if "requestBody" in operation:
        operation["requestBody"]["content"]["application/json"]["example"] = EXAMPLE_TASK


def _extension_paths() -> Json:
    task_id = _parameter("id", "path", {"type": "string"}, "ID of the task.")
    log_parameters = [
        task_id,
        _parameter("executor", "path", {"type": "integer", "minimum": 0, "default": 0}, "Counted from 0."),
        _parameter("stream", "path", {"type": "string", "enum": ["stdout", "stderr"]}, "Which output."),
        _parameter("attempt", "query", {"type": "integer", "minimum": 1}, "From 1; the latest if absent."),
        _parameter("offset", "query", {"type": "integer", "default": 0}, "Negative: from the end."),
        _parameter(
            "limit",
            "query",
            {"type": "integer", "minimum": 1, "maximum": 8 * 1024**2},
            "At most so many bytes.",
        ),
    ]
    headers = {
        "X-Tesp-Log-Offset": "Where in the whole output the answer starts.",
        "X-Tesp-Log-Total": "Bytes written so far.",
        "X-Tesp-Log-Live": "true while more may come.",
    }
    log_answer = {
        "description": "The raw bytes.",
        "headers": {name: _header(text) for name, text in headers.items()},
        "content": {"text/plain": {"schema": {"type": "string", "format": "binary"}}},
    }
    return {
        "/tesp/v1/tasks/{id}/logs/{executor}/{stream}": {
            "get": _operation("Extensions", "ReadLog", "An executor's output", log_parameters, log_answer)
        },
        "/tesp/v1/tasks/{id}/history": {
            "get": _operation("Extensions", "ReadHistory", "A task's states", [task_id], _json_response())
        },
    }


def _health_paths() -> Json:
    return {
        "/healthz": {"get": _operation("Health", "TellAlive", "Is it alive?", [], _json_response())},
        "/readyz": {"get": _operation("Health", "TellReady", "Does all of it work?", [], _json_response())},
    }


def _operation(tag: str, name: str, summary: str, parameters: list[Json], answer: Json) -> Json:
    return {
        "tags": [tag],
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": {"200": answer, "default": _error_response()},
    }


def _parameter(name: str, place: str, schema: Json, description: str) -> Json:
    parameter = {"name": name, "in": place, "schema": schema, "description": description}
    return parameter | ({"required": True} if place == "path" else {})


def _header(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}


def _json_response() -> Json:
    return {"description": "", "content": {"application/json": {"schema": {"type": "object"}}}}


def _error_response() -> Json:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": "What went wrong.", "content": {"application/json": {"schema": schema}}}
