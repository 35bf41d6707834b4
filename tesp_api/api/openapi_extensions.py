"""The operations of the OpenAPI document that TESP has beyond the standard."""

from tesp_api.api.extensions import LIMIT_DEFAULT_BYTES, LIMIT_MAX_BYTES
from tesp_api.api.openapi_live import LAST_EVENT_ID, LOGS, STREAM, live_paths
from tesp_api.api.openapi_parts import (
    IDEMPOTENCY_KEY,
    NUMBER_FROM_0,
    TASK_ID,
    TEXT,
    Json,
    extension,
    in_json,
    in_path,
    of,
    operation,
    parameter,
)
from tesp_api.api.openapi_webhooks import webhook_paths

ATTEMPT = parameter("attempt", {"type": "integer", "minimum": 1}, "From 1; the latest, if absent.")


def extension_paths(example_task: Json) -> Json:
    """The operations under `/tesp/v1` by path and method."""
    history = extension(
        "ReadHistory",
        "A task's states",
        "When the task came into which state, and why.",
        in_json("The history.", "History"),
        "404",
        parameters=[TASK_ID],
    )
    live = live_paths()
    return {
        "/tesp/v1/tasks:bulk": {"post": _bulk(example_task)},
        "/tesp/v1/tasks:validate": {"post": _validate(example_task)},
        **live,
        "/tesp/v1/tasks/{id}": {**live["/tesp/v1/tasks/{id}"], "delete": _delete()},
        "/tesp/v1/tasks/{id}/logs/{executor}/{stream}": {"get": _read_log()},
        "/tesp/v1/tasks/{id}/events": {"get": _read_events()},
        "/tesp/v1/tasks/{id}/files": {"get": _read_files()},
        "/tesp/v1/tasks/{id}/history": {"get": history},
        **webhook_paths(),
        "/tesp/v1/limits": {"get": _read_limits()},
    }


def _read_limits() -> Json:
    text = (
        "How much you may take of this server, and have taken. Beyond a limit the answer is 429, whose "
        "Retry-After says when to ask again at the earliest."
    )
    return extension("ReadLimits", "Your limits and use", text, in_json("The limits.", "Limits"))


def _body(component: str, example: Json) -> Json:
    return {
        "required": True,
        "content": {"application/json": {"schema": of(component), "example": example}},
    }


def _bulk(example_task: Json) -> Json:
    text = (
        "Up to 1,000 tasks in one request, of at most the size that the server takes. A task that is refused "
        "does not harm the others. With an Idempotency-Key, each task has its own, made of that one and its "
        "place: send the same request again to store what was not stored."
    )
    return extension(
        "CreateTasks",
        "Create many tasks",
        text,
        in_json("What became of each.", "BulkAnswer"),
        "400 413",
        parameters=[IDEMPOTENCY_KEY],
        requestBody=_body("NewTasks", {"tasks": [example_task, example_task]}),
    )


def _validate(example_task: Json) -> Json:
    text = "Say what CreateTask would, without creating anything. A task with faults is an answer, no error."
    return operation(
        "ValidateTask",
        ("Extensions", "Try a task out", text),
        in_json("What would become of it.", "DryRun"),
        "413 429 default",
        requestBody=_body("tesTask", example_task),
    )


def _delete() -> Json:
    text = (
        "Forget a task that has ended, with its history and logs. Outputs that were sent stay. A step of a"
        " workflow run can be deleted once the run has ended."
    )
    deleted = extension("DeleteTask", "Delete a task", text, {}, "404 409", parameters=[TASK_ID])
    del deleted["responses"]["200"]
    deleted["responses"] = {"204": {"description": "It is gone."}} | deleted["responses"]
    return deleted


def _read_events() -> Json:
    text = (
        "What the worker of an attempt has said so far, and the server where it moves the files itself: also "
        "how far transfers are that take longer than a second. To follow them, ask again after the seq of "
        "the last one, while live is true.\n\n"
        "Or ask for `text/event-stream`: server-sent events, as they come, until the task has ended. "
        "`state` {at, "
        "state, attempt, reason}, `worker` (an event as in JSON, with its attempt), `log` {attempt, "
        "executor, "
        "stream, offset, length, text, dropped_bytes}, and `end` {state}. A stream that ends without `end` "
        "is "
        "taken up again, at any server, with the last event's id as Last-Event-ID."
    )
    parameters = [
        TASK_ID,
        ATTEMPT,
        parameter("after", {"type": "integer", "minimum": -1}, "Only events with a larger seq than this."),
        LOGS,
        LAST_EVENT_ID,
    ]
    summary, answer = (
        "What a task's worker and gateway say",
        in_json("The events, the oldest first.", "Events"),
    )
    answer["content"] |= STREAM
    return extension("ReadEvents", summary, text, answer, "400 404", parameters=parameters)


def _read_files() -> Json:
    text = (
        "Every file that an attempt has moved, inputs and outputs, with its size and SHA-256, also where "
        "there are more than the log's metadata has room for. They are told when the attempt has ended."
    )
    parameters = [
        TASK_ID,
        ATTEMPT,
        parameter("page_token", {"type": "integer", "minimum": 0}, "The next_page_token of the page before."),
    ]
    answer = in_json("A page of them.", "Files")
    return extension("ReadFiles", "What a task has moved", text, answer, "400 404", parameters=parameters)


def _read_log() -> Json:
    text = (
        "The bytes as the executor wrote them, also while it runs. To follow a log, add the length of the "
        "answer to X-Tesp-Log-Offset and go on there, while X-Tesp-Log-Live is true; or have the server "
        "follow it (`follow`), which ends when nothing more can come, or the server stops. A very long log "
        "loses "
        "its middle: an answer that would begin there begins behind it. The header `Range` may ask for a "
        "part."
    )
    headers = {
        "X-Tesp-Log-Offset": ("Where in the whole log the answer starts.", NUMBER_FROM_0),
        "X-Tesp-Log-Total": ("Bytes written so far.", NUMBER_FROM_0),
        "X-Tesp-Log-Live": ("Whether more may come.", {"type": "string", "enum": ["true", "false"]}),
        "X-Tesp-Log-Dropped": (
            "How many bytes are missing between the offset asked for and the answer.",
            NUMBER_FROM_0,
        ),
    }
    answer = {
        "description": "The bytes.",
        "headers": {
            name: {"description": said, "schema": schema} for name, (said, schema) in headers.items()
        },
        "content": {"text/plain": {"schema": TEXT}},
    }
    parameters = [
        TASK_ID,
        in_path("executor", NUMBER_FROM_0 | {"default": 0}, "Its number in the task, from 0."),
        in_path("stream", {"type": "string", "enum": ["stdout", "stderr"]}, "Which of its outputs."),
        ATTEMPT,
        parameter("offset", {"type": "integer", "default": 0}, "In bytes; a negative one from the end."),
        parameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX_BYTES, "default": LIMIT_DEFAULT_BYTES},
            "At most so many bytes.",
        ),
        parameter(
            "follow", {"type": "boolean", "default": False}, "All from the offset on, as it is written."
        ),
    ]
    read = extension("ReadLog", "An executor's output", text, answer, "400 404 416", parameters=parameters)
    read["responses"]["206"] = {**answer, "description": "The part that Range asked for."}
    return read


def health_paths() -> Json:
    """The operations for whoever runs the server."""
    alive = operation(
        "TellAlive",
        ("Health", "Is it alive?", "Answers as long as the process does, whatever else is wrong."),
        in_json("It is.", "Alive"),
        "default",
    )
    ready = operation(
        "TellReady",
        (
            "Health",
            "Can it work?",
            "It can while the store and at least one destination answer. Takes five seconds at most.",
        ),
        in_json("It can; the parts say whether a destination is away.", "Readiness"),
        "default",
    )
    ready["responses"]["503"] = in_json("The store, or every destination, does not answer.", "Readiness")
    return {"/healthz": {"get": alive}, "/readyz": {"get": ready}, "/metrics": {"get": _read_metrics()}}


def _read_metrics() -> Json:
    text = (
        "For Prometheus, with the setting metrics.token as a Bearer token where there is one. Not there with "
        "metrics.enabled = false."
    )
    answer = {"description": "The metrics.", "content": {"text/plain": {"schema": TEXT}}}
    return operation("ReadMetrics", ("Health", "Metrics", text), answer, "default")
