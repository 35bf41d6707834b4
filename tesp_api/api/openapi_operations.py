"""The operations of TES in the OpenAPI document, and all others that the server has for clients."""

from tesp_api.api.openapi_extensions import extension_paths, health_paths
from tesp_api.api.openapi_parts import (
    IDEMPOTENCY_KEY,
    TASK_ID,
    TEXT,
    VIEW,
    Json,
    in_json,
    of,
    operation,
    parameter,
)
from tesp_api.api.queries import MOST_TAGS, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX
from tesp_api.tes.states import State

EXAMPLE_TASK: Json = {
    "name": "Hello",
    "description": "Counts the words of an inline input",
    "inputs": [{"path": "/data/words.txt", "content": "to be or not to be\n"}],
    "executors": [
        {
            "image": "busybox:latest",
            "command": ["sh", "-c", "tr ' ' '\\n' < /data/words.txt | sort | uniq -c"],
        }
    ],
    "resources": {"cpu_cores": 1, "ram_gb": 0.5},
    "tags": {"project": "demo"},
}
"""Runs as it stands: it needs no storage, and a program that every image and host has."""

_LIST_PARAMETERS: list[Json] = [
    parameter("name_prefix", TEXT, "Only tasks whose name begins so, in the same case."),
    parameter(
        "state",
        # Not the component tesState, whose default a browser would fill in as a filter.
        {"type": "string", "enum": [state.value for state in State]},
        "Only tasks that are shown in this state. Upper or lower case.",
    ),
    parameter(
        "tag_key",
        {"type": "array", "items": TEXT, "maxItems": MOST_TAGS},
        "Only tasks with this tag. May be repeated, up to a hundred times: then all of the tags are needed.",
    ),
    parameter(
        "tag_value",
        {"type": "array", "items": TEXT},
        "The value of the tag: the first belongs to the first tag_key, and so on. One that is missing or "
        "empty stands for any value. More values than keys are refused.",
    ),
    parameter(
        "page_size",
        {
            "type": "integer",
            "format": "int32",
            "minimum": 1,
            "maximum": PAGE_SIZE_MAX,
            "default": PAGE_SIZE_DEFAULT,
        },
        f"At most so many tasks in the answer, from 1 to {PAGE_SIZE_MAX}. There may be fewer, even none, and "
        "yet a next_page_token: go on until there is none.",
    ),
    parameter(
        "page_token", TEXT, "The next_page_token of the page before. New tasks do not shift the pages."
    ),
    VIEW,
]


def operations() -> Json:
    """The operations by path and method."""
    return (
        _standard_paths("/ga4gh/tes/v1", "TaskService", "")
        | _standard_paths("/v1", "TaskService at /v1", "_v1")
        | _service_info_1_0()
        | extension_paths(EXAMPLE_TASK)
        | health_paths()
    )


def _standard_paths(prefix: str, tag: str, suffix: str) -> Json:
    """The operations of TES under one prefix; `suffix` keeps their ids apart from those of the other."""
    return {
        f"{prefix}/service-info": {
            "get": operation(
                f"GetServiceInfo{suffix}",
                (tag, "GetServiceInfo", "What this server is, and from where tasks may take files."),
                in_json("About the server.", "tesServiceInfo"),
                "default",
            )
        },
        f"{prefix}/tasks": {"get": _list_tasks(tag, suffix), "post": _create_task(tag, suffix)},
        f"{prefix}/tasks/{{id}}": {
            "get": operation(
                f"GetTask{suffix}",
                (tag, "GetTask", "One task. Ask as often as you like: it is cheap in the view MINIMAL."),
                in_json("The task.", "tesTask", "TaskState"),
                "400 404 429 503 default",
                parameters=[TASK_ID, VIEW],
            )
        },
        f"{prefix}/tasks/{{id}}:cancel": {
            "post": operation(
                f"CancelTask{suffix}",
                (tag, "CancelTask", "Stop a task. Answers at once; one that has ended stays as it is."),
                in_json("The wish is stored.", "tesCancelTaskResponse"),
                "404 429 503 default",
                parameters=[TASK_ID],
            )
        },
    }


def _list_tasks(tag: str, suffix: str) -> Json:
    return operation(
        f"ListTasks{suffix}",
        (
            tag,
            "ListTasks",
            "The tasks that fit all the filters, the newest first. Those that have ended may be deleted "
            "after a time that the server sets; otherwise all are kept.",
        ),
        in_json("A page of tasks.", "tesListTasksResponse", "TaskStates"),
        "400 429 503 default",
        parameters=_LIST_PARAMETERS,
    )


def _create_task(tag: str, suffix: str) -> Json:
    body = {"application/json": {"schema": of("tesTask"), "example": EXAMPLE_TASK}}
    return operation(
        f"CreateTask{suffix}",
        (
            tag,
            "CreateTask",
            "Store a task and queue it. The body is read as JSON, whatever its content type.",
        ),
        in_json("The task's id.", "tesCreateTaskResponse"),
        "400 409 413 429 503 default",
        parameters=[IDEMPOTENCY_KEY],
        requestBody={"required": True, "content": body},
    )


def _service_info_1_0() -> Json:
    about = (
        "TaskService at /v1",
        "GetServiceInfo of TES 1.0",
        "Where old clients, such as Toil, look for it.",
    )
    answer = in_json("About the server.", "ServiceInfo10")
    return {"/v1/tasks/service-info": {"get": operation("GetServiceInfo_1_0", about, answer, "default")}}
