"""The OpenAPI document is valid, and says of the standard's part what the standard says."""

import json
import re
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tesp_api.api.openapi import openapi_document

DOCUMENT = openapi_document("1.2.3")
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]

OPERATIONS = [
    # path, method, operationId, parameters, required body, answer
    ("/service-info", "get", "GetServiceInfo", "", "", "tesServiceInfo"),
    (
        *("/tasks", "get", "ListTasks"),
        *("name_prefix state tag_key tag_value page_size page_token view", "", "tesListTasksResponse"),
    ),
    ("/tasks", "post", "CreateTask", "", "tesTask", "tesCreateTaskResponse"),
    ("/tasks/{id}", "get", "GetTask", "id view", "", "tesTask"),
    ("/tasks/{id}:cancel", "post", "CancelTask", "id", "", "tesCancelTaskResponse"),
]

STATES = (
    "UNKNOWN QUEUED INITIALIZING RUNNING PAUSED COMPLETE EXECUTOR_ERROR SYSTEM_ERROR "
    "CANCELED PREEMPTED CANCELING"
)

PROPERTIES = {
    # ! stands behind what is required, ^ behind what only the server sets
    "tesCancelTaskResponse": "",
    "tesCreateTaskResponse": "id: string!",
    "tesExecutor": "image: string!, command: [string]!, workdir: string, stdin: string, stdout: string, "
    "stderr: string, env: {string}, ignore_error: boolean",
    "tesExecutorLog": "start_time: string, end_time: string, stdout: string, stderr: string, "
    "exit_code: integer int32!",
    "tesInput": "name: string, description: string, url: string, path: string!, type: tesFileType, "
    "content: string, streamable: boolean",
    "tesListTasksResponse": "tasks: [tesTask]!, next_page_token: string",
    "tesOutput": "name: string, description: string, url: string!, path: string!, path_prefix: string, "
    "type: tesFileType",
    "tesOutputFileLog": "url: string!, path: string!, size_bytes: string int64!",
    "tesResources": "cpu_cores: integer int32, preemptible: boolean boolean, ram_gb: number double, "
    "disk_gb: number double, zones: [string], backend_parameters: {string}, "
    "backend_parameters_strict: boolean boolean",
    "tesServiceType": "group: string!, artifact: string!, version: string!",
    "tesServiceInfo": "id: string!, name: string!, type: tesServiceType!, description: string, "
    "organization: Organization!, contactUrl: string uri, documentationUrl: string uri, "
    "createdAt: string date-time, updatedAt: string date-time, environment: string, version: string!, "
    "storage: [string], tesResources_backend_parameters: [string]",
    "tesTask": "id: string^, state: tesState, name: string, description: string, inputs: [tesInput], "
    "outputs: [tesOutput], resources: tesResources, executors: [tesExecutor]!, volumes: [string], "
    "tags: {string}, logs: [tesTaskLog]^, creation_time: string^",
    "tesTaskLog": "logs: [tesExecutorLog]!, metadata: {string}, start_time: string, end_time: string, "
    "outputs: [tesOutputFileLog]!, system_logs: [string]",
}


def kind_of(schema: Any) -> str:
    """The type of a schema as `PROPERTIES` writes it."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema["type"] == "array":
        return f"[{kind_of(schema['items'])}]"
    if schema["type"] == "object":
        return f"{{{kind_of(schema['additionalProperties'])}}}"
    return " ".join([schema["type"], *([schema["format"]] if "format" in schema else [])])


def resolved(item: Any) -> Any:
    """What a reference leads to."""
    while "$ref" in item:
        assert item["$ref"].startswith("#/")
        found: Any = DOCUMENT
        for part in item["$ref"][2:].split("/"):
            found = found[part]
        item = found
    return item


def answers_of(operation: Any) -> list[str]:
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    return [kind_of(one) for one in schema.get("anyOf", [schema])]


def test_the_document_is_valid() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"]["version"] == "1.2.3"
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_nothing_is_needed_from_elsewhere() -> None:
    references = re.findall(r'"\$ref": "([^"]+)"', json.dumps(DOCUMENT))
    assert len(references) > 50
    for reference in references:
        assert resolved({"$ref": reference})


def test_every_component_is_used() -> None:
    text = json.dumps(DOCUMENT)
    for kind, components in DOCUMENT["components"].items():
        assert [name for name in components if f'"#/components/{kind}/{name}"' not in text] == []


@pytest.mark.parametrize(("prefix", "suffix"), [("/ga4gh/tes/v1", ""), ("/v1", "_v1")])
@pytest.mark.parametrize(("path", "method", "name", "parameters", "body", "answer"), OPERATIONS)
def test_operations_of_the_standard(
    prefix: str, suffix: str, path: str, method: str, name: str, parameters: str, body: str, answer: str
) -> None:
    operation = DOCUMENT["paths"][prefix + path][method]
    assert operation["operationId"] == name + suffix
    found = [resolved(parameter) for parameter in operation.get("parameters", [])]
    if name == "CreateTask":
        assert found.pop()["name"] == "Idempotency-Key"  # ours, and optional
    assert [parameter["name"] for parameter in found] == parameters.split()
    for parameter in found:
        in_path = parameter["name"] == "id"
        assert (parameter["in"], parameter.get("required", False)) == (
            "path" if in_path else "query",
            in_path,
        )
    assert answers_of(operation)[0] == answer
    if body:
        assert operation["requestBody"]["required"]
        assert kind_of(operation["requestBody"]["content"]["application/json"]["schema"]) == body
    else:
        assert "requestBody" not in operation


def test_parameters_of_the_standard() -> None:
    operation = DOCUMENT["paths"]["/ga4gh/tes/v1/tasks"]["get"]
    schemas = {one["name"]: one["schema"] for one in map(resolved, operation["parameters"])}
    assert {name: kind_of(schema) for name, schema in schemas.items()} == {
        "name_prefix": "string",
        "state": "string",
        "tag_key": "[string]",
        "tag_value": "[string]",
        "page_size": "integer int32",
        "page_token": "string",
        "view": "string",
    }
    assert schemas["state"]["enum"] == STATES.split()
    assert schemas["view"]["enum"] == ["MINIMAL", "BASIC", "FULL"]
    assert schemas["view"]["default"] == "MINIMAL"
    page_size = schemas["page_size"]
    assert (page_size["default"], page_size["minimum"], page_size["maximum"]) == (256, 1, 2047)


@pytest.mark.parametrize("name", PROPERTIES)
def test_components_of_the_standard(name: str) -> None:
    schema = SCHEMAS[name]
    assert schema["type"] == "object"
    required = schema.get("required", [])
    found = {
        f"{key}: {kind_of(value)}{'!' if key in required else ''}{'^' if value.get('readOnly') else ''}"
        for key, value in schema["properties"].items()
    }
    assert found == set(PROPERTIES[name].split(", ")) - {""}


def test_enumerations_and_defaults_of_the_standard() -> None:
    state, kind = SCHEMAS["tesState"], SCHEMAS["tesFileType"]
    assert (state["type"], state["enum"], state["default"]) == ("string", STATES.split(), "UNKNOWN")
    assert state["readOnly"]
    assert (kind["type"], kind["enum"], kind["default"]) == ("string", ["FILE", "DIRECTORY"], "FILE")
    assert SCHEMAS["tesResources"]["properties"]["backend_parameters_strict"]["default"] is False
    assert SCHEMAS["tesServiceType"]["properties"]["artifact"]["enum"] == ["tes"]


def test_all_components_of_the_standard_are_looked_at() -> None:
    standard = {name for name in SCHEMAS if name.startswith("tes")}
    assert standard == PROPERTIES.keys() | {"tesState", "tesFileType"}


def test_every_field_is_explained() -> None:
    unexplained = [
        f"{name}.{key}"
        for name, schema in SCHEMAS.items()
        for key, value in schema.get("properties", {}).items()
        if not resolved(value).get("description", value.get("description"))
    ]
    assert unexplained == []
    assert [name for name, schema in SCHEMAS.items() if not schema.get("description")] == []


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/ga4gh/tes/v1/tasks", "post", "200 400 409 413 429 503 default"),
        ("/ga4gh/tes/v1/tasks", "get", "200 400 429 503 default"),
        ("/v1/tasks/{id}", "get", "200 400 404 429 503 default"),
        ("/v1/tasks/{id}:cancel", "post", "200 404 429 503 default"),
        ("/tesp/v1/tasks/{id}/logs/{executor}/{stream}", "get", "200 206 400 404 416 429 503 default"),
        ("/tesp/v1/tasks/{id}", "delete", "204 404 409 429 503 default"),
        ("/tesp/v1/tasks:bulk", "post", "200 400 413 429 503 default"),
        ("/tesp/v1/tasks:validate", "post", "200 413 429 default"),
        ("/tesp/v1/tasks/{id}/history", "get", "200 404 429 503 default"),
        ("/tesp/v1/limits", "get", "200 429 503 default"),
        ("/tesp/v1/tasks/{id}/events", "get", "200 400 404 429 503 default"),
        ("/tesp/v1/tasks/{id}/files", "get", "200 400 404 429 503 default"),
        ("/readyz", "get", "200 503 default"),
    ],
)
def test_errors_are_told(path: str, method: str, statuses: str) -> None:
    responses = DOCUMENT["paths"][path][method]["responses"]
    assert sorted(responses) == statuses.split()
    wanted = "Readiness" if path == "/readyz" else "Error"
    for status, response in responses.items():
        if status not in ("200", "204", "206", "default"):
            assert kind_of(resolved(response)["content"]["application/json"]["schema"]) == wanted


def test_no_operation_has_the_name_of_another() -> None:
    names = [one["operationId"] for methods in DOCUMENT["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names))
