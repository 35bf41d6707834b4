"""The operations of the OpenAPI document: every path that the server has for clients."""

from typing import Any

from tesp_api.api.extensions import LIMIT_DEFAULT_BYTES, LIMIT_MAX_BYTES
from tesp_api.api.queries import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX
from tesp_api.tes.states import State
from tesp_api.tes.tasks import View

Json = dict[str, Any]

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

_TEXT: Json = {"type": "string"}
_NUMBER_FROM_0: Json = {"type": "integer", "minimum": 0}


def _of(component: str) -> Json:
    return {"$ref": f"#/components/schemas/{component}"}


def _parameter(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _in_path(name: str, schema: Json, description: str) -> Json:
    return _parameter(name, schema, description) | {"in": "path", "required": True}


def _json(description: str, *components: str) -> Json:
    schema = _of(components[0]) if len(components) == 1 else {"anyOf": [_of(name) for name in components]}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


VIEW = _parameter(
    "view",
    {"type": "string", "enum": [view.value for view in View], "default": View.MINIMAL.value},
    "How much to show. `MINIMAL`: id and state. `BASIC`: all but the inputs' content, the executors' stdout "
    "and stderr, and system_logs. `FULL`: all. Upper or lower case.",
)

_RETRY_AFTER = {"description": "Seconds to wait.", "schema": {"type": "integer"}}

REFUSALS: Json = {
    "Invalid": _json("Something in the request is wrong: `faults` name all of it, field by field.", "Error"),
    "NotFound": _json("There is no such task, or nothing by that name in it.", "Error"),
    "TooLarge": _json(
        "The body is larger than the server takes (8 MiB, unless it is set otherwise).", "Error"
    ),
    "BeyondTheEnd": _json("The offset is greater than what the log has; the headers say how much.", "Error"),
    "Unavailable": _json("The store does not answer now.", "Error")
    | {"headers": {"Retry-After": _RETRY_AFTER}},
    "Failure": _json("Any other failure, in the same form.", "Error"),
}
"""The answers to requests that fail, by the name of their component."""

_REFUSAL_OF = {
    "400": "Invalid",
    "404": "NotFound",
    "413": "TooLarge",
    "416": "BeyondTheEnd",
    "503": "Unavailable",
    "default": "Failure",
}

_TASK_ID = _in_path("id", _TEXT, "The task's id, as CreateTask answered it.")
_VIEW_REFERENCE: Json = {"$ref": "#/components/parameters/view"}

_LIST_PARAMETERS: list[Json] = [
    _parameter("name_prefix", _TEXT, "Only tasks whose name begins so, in the same case."),
    _parameter(
        "state",
        # Not the component tesState, whose default a browser would fill in as a filter.
        {"type": "string", "enum": [state.value for state in State]},
        "Only tasks that are shown in this state. Upper or lower case.",
    ),
    _parameter(
        "tag_key",
        {"type": "array", "items": _TEXT},
        "Only tasks with this tag. May be repeated: then all of the tags are needed.",
    ),
    _parameter(
        "tag_value",
        {"type": "array", "items": _TEXT},
        "The value of the tag: the first belongs to the first tag_key, and so on. One that is missing or "
        "empty stands for any value. More values than keys are refused.",
    ),
    _parameter(
        "page_size",
        {
            "type": "integer",
            "format": "int32",
            "minimum": 1,
            "maximum": PAGE_SIZE_MAX,
            "default": PAGE_SIZE_DEFAULT,
        },
        f"At most so many tasks in the answer, from 1 to {PAGE_SIZE_MAX}.",
    ),
    _parameter(
        "page_token", _TEXT, "The next_page_token of the page before. New tasks do not shift the pages."
    ),
    _VIEW_REFERENCE,
]


def operations() -> Json:
    """The operations by path and method."""
    return (
        _standard_paths("/ga4gh/tes/v1", "TaskService", "")
        | _standard_paths("/v1", "TaskService at /v1", "_v1")
        | _service_info_1_0()
        | _extension_paths()
        | _health_paths()
    )


def _operation(name: str, about: tuple[str, str, str], answer: Json, refusals: str, **more: Any) -> Json:
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


def _standard_paths(prefix: str, tag: str, suffix: str) -> Json:
    """The operations of TES under one prefix; `suffix` keeps their ids apart from those of the other."""
    return {
        f"{prefix}/service-info": {
            "get": _operation(
                f"GetServiceInfo{suffix}",
                (tag, "GetServiceInfo", "What this server is, and from where tasks may take files."),
                _json("About the server.", "tesServiceInfo"),
                "default",
            )
        },
        f"{prefix}/tasks": {"get": _list_tasks(tag, suffix), "post": _create_task(tag, suffix)},
        f"{prefix}/tasks/{{id}}": {
            "get": _operation(
                f"GetTask{suffix}",
                (tag, "GetTask", "One task. Ask as often as you like: it is cheap in the view MINIMAL."),
                _json("The task.", "tesTask", "TaskState"),
                "400 404 503 default",
                parameters=[_TASK_ID, _VIEW_REFERENCE],
            )
        },
        f"{prefix}/tasks/{{id}}:cancel": {
            "post": _operation(
                f"CancelTask{suffix}",
                (tag, "CancelTask", "Stop a task. Answers at once; one that has ended stays as it is."),
                _json("The wish is stored.", "tesCancelTaskResponse"),
                "404 503 default",
                parameters=[_TASK_ID],
            )
        },
    }


def _list_tasks(tag: str, suffix: str) -> Json:
    return _operation(
        f"ListTasks{suffix}",
        (tag, "ListTasks", "The tasks that fit all the filters, the newest first. All are kept for good."),
        _json("A page of tasks.", "tesListTasksResponse", "TaskStates"),
        "400 503 default",
        parameters=_LIST_PARAMETERS,
    )


def _create_task(tag: str, suffix: str) -> Json:
    body = {"application/json": {"schema": _of("tesTask"), "example": EXAMPLE_TASK}}
    return _operation(
        f"CreateTask{suffix}",
        (
            tag,
            "CreateTask",
            "Store a task and queue it. The body is read as JSON, whatever its content type.",
        ),
        _json("The task's id.", "tesCreateTaskResponse"),
        "400 413 503 default",
        requestBody={"required": True, "content": body},
    )


def _service_info_1_0() -> Json:
    about = (
        "TaskService at /v1",
        "GetServiceInfo of TES 1.0",
        "Where old clients, such as Toil, look for it.",
    )
    answer = _json("About the server.", "ServiceInfo10")
    return {"/v1/tasks/service-info": {"get": _operation("GetServiceInfo_1_0", about, answer, "default")}}


def _extension_paths() -> Json:
    history = _operation(
        "ReadHistory",
        ("Extensions", "A task's states", "When the task came into which state, and why."),
        _json("The history.", "History"),
        "404 503 default",
        parameters=[_TASK_ID],
    )
    return {
        "/tesp/v1/tasks/{id}/logs/{executor}/{stream}": {"get": _read_log()},
        "/tesp/v1/tasks/{id}/history": {"get": history},
    }


def _read_log() -> Json:
    text = (
        "The bytes as the executor wrote them, also while it runs. To follow a log, add the length of the "
        "answer to X-Tesp-Log-Offset and go on there, while X-Tesp-Log-Live is true. A very long log loses "
        "its middle: an answer that would begin there begins behind it."
    )
    headers = {
        "X-Tesp-Log-Offset": ("Where in the whole log the answer starts.", _NUMBER_FROM_0),
        "X-Tesp-Log-Total": ("Bytes written so far.", _NUMBER_FROM_0),
        "X-Tesp-Log-Live": ("Whether more may come.", {"type": "string", "enum": ["true", "false"]}),
    }
    answer = {
        "description": "The bytes.",
        "headers": {
            name: {"description": said, "schema": schema} for name, (said, schema) in headers.items()
        },
        "content": {"text/plain": {"schema": _TEXT}},
    }
    parameters = [
        _TASK_ID,
        _in_path("executor", _NUMBER_FROM_0 | {"default": 0}, "Its number in the task, from 0."),
        _in_path("stream", {"type": "string", "enum": ["stdout", "stderr"]}, "Which of its outputs."),
        _parameter("attempt", {"type": "integer", "minimum": 1}, "From 1; the latest, if absent."),
        _parameter("offset", {"type": "integer", "default": 0}, "In bytes; a negative one from the end."),
        _parameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX_BYTES, "default": LIMIT_DEFAULT_BYTES},
            "At most so many bytes.",
        ),
    ]
    about = ("Extensions", "An executor's output", text)
    return _operation("ReadLog", about, answer, "400 404 416 503 default", parameters=parameters)


def _health_paths() -> Json:
    alive = _operation(
        "TellAlive",
        ("Health", "Is it alive?", "Answers as long as the process does, whatever else is wrong."),
        _json("It is.", "Alive"),
        "default",
    )
    ready = _operation(
        "TellReady",
        ("Health", "Does all of it work?", "Asks the store and every Pulsar, for five seconds at most."),
        _json("All of it works.", "Readiness"),
        "default",
    )
    ready["responses"]["503"] = _json("Some part does not work.", "Readiness")
    return {"/healthz": {"get": alive}, "/readyz": {"get": ready}}
