"""The operations of WES in the OpenAPI document, and those that TESP has beyond it for runs.

Source: WES 1.1, for every path, name, parameter and answer under `/ga4gh/wes/v1`.
"""

from tesp_api.api.openapi_live import live_run_paths
from tesp_api.api.openapi_parts import (
    IDEMPOTENCY_KEY,
    NUMBER_FROM_0,
    TEXT,
    Json,
    in_json,
    in_path,
    of,
    operation,
    parameter,
)
from tesp_api.api.runs import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX
from tesp_api.wes.views import LOG_LIMIT_BYTES, TESP, WES

_RUN_ID = in_path("id", TEXT, "The run's id, as RunWorkflow answered it.")
_PAGE_SIZE = parameter(
    "page_size",
    {
        "type": "integer",
        "format": "int64",
        "minimum": 1,
        "maximum": PAGE_SIZE_MAX,
        "default": PAGE_SIZE_DEFAULT,
    },
    "At most so many in the answer.",
)
_PAGE_TOKEN = parameter("page_token", TEXT, "The next_page_token of the page before.")
_TAG, _MORE_TAG = "Workflow Runs", "Extensions for runs"

EXAMPLE_RUN: Json = {
    "workflow_type": "CWL",
    "workflow_type_version": "v1.2",
    "workflow_url": "https://example.org/workflow.cwl",
    "workflow_params": {"reads": {"class": "File", "location": "https://example.org/reads.fa"}},
    "tags": {"project": "demo"},
}


def wes_paths() -> Json:
    """The operations by path and method."""
    return _standard_paths() | _extension_paths()


def _standard_paths() -> Json:
    info = (_TAG, "GetServiceInfo", "What this server can run, and how many runs are in which state.")
    tasks = (_TAG, "ListTasks", "The run's steps, the oldest first. A wrong page_size counts as none.")
    return {
        f"{WES}/service-info": {
            "get": operation(
                "GetWesServiceInfo", info, in_json("About the server.", "WesServiceInfo"), "429 503 default"
            )
        },
        f"{WES}/runs": {"get": _list_runs(), "post": _run_workflow()},
        f"{WES}/runs/{{id}}": {"get": _of_run("GetRunLog", "All of a run.", "RunLog")},
        f"{WES}/runs/{{id}}/status": {"get": _of_run("GetRunStatus", "The run's state: cheap.", "RunStatus")},
        f"{WES}/runs/{{id}}/cancel": {
            "post": _of_run(
                "CancelRun",
                "Stop a run and all its tasks. Answers at once; one that has ended stays as it is.",
                "RunId",
            )
        },
        f"{WES}/runs/{{id}}/tasks": {
            "get": operation(
                "ListRunTasks",
                tasks,
                in_json("A page of steps.", "TaskListResponse"),
                "404 429 503 default",
                parameters=[_RUN_ID, _PAGE_SIZE, _PAGE_TOKEN],
            )
        },
        f"{WES}/runs/{{id}}/tasks/{{task}}": {
            "get": operation(
                "GetRunTask",
                (_TAG, "GetTask", "One step of a run."),
                in_json("The step.", "RunTaskLog"),
                "404 429 503 default",
                parameters=[_RUN_ID, in_path("task", TEXT, "The step's id.")],
            )
        },
    }


def _of_run(name: str, text: str, answer: str) -> Json:
    return operation(
        name, (_TAG, name, text), in_json("The answer.", answer), "404 429 503 default", parameters=[_RUN_ID]
    )


def _list_runs() -> Json:
    return operation(
        "ListRuns",
        (_TAG, "ListRuns", "The runs, the newest first. New ones do not shift the pages."),
        in_json("A page of runs.", "RunListResponse"),
        "400 429 503 default",
        parameters=[_PAGE_SIZE, _PAGE_TOKEN],
    )


def _run_workflow() -> Json:
    text = (
        "Store a run and queue it. Its steps become tasks, which TES shows with the tags `wes.run_id` and "
        "`wes.step`. The body is a form, whose objects are JSON texts, or JSON with the same fields."
    )
    content = {
        "multipart/form-data": {"schema": of("RunForm")},
        "application/json": {"schema": of("RunRequest"), "example": EXAMPLE_RUN},
    }
    return operation(
        "RunWorkflow",
        (_TAG, "RunWorkflow", text),
        in_json("The run's id.", "RunId"),
        "400 409 413 429 503 default",
        parameters=[IDEMPOTENCY_KEY],
        requestBody={"required": True, "content": content},
    )


def _extension_paths() -> Json:
    steps = (_MORE_TAG, "A run's steps at a glance", "Their states, the oldest first: for watching a run.")
    return {
        **live_run_paths(),
        f"{TESP}/runs/{{id}}": {"delete": _delete()},
        f"{TESP}/runs/{{id}}/steps": {
            "get": operation(
                "ListRunSteps",
                steps,
                in_json("A page of steps.", "RunSteps"),
                "400 404 429 503 default",
                parameters=[_RUN_ID, _PAGE_SIZE, _PAGE_TOKEN],
            )
        },
        f"{TESP}/runs/{{id}}/logs/{{stream}}": {"get": _read_log()},
        f"{TESP}/runs/{{id}}/files/{{path}}": {"get": _read_file()},
        f"{TESP}/runs/{{id}}/inputs.zip": {
            "get": _archive("ReadRunInputs", "The request, its params, and the attachments.")
        },
        f"{TESP}/runs/{{id}}/outputs.zip": {
            "get": _archive("ReadRunOutputs", "All files among the outputs, and the outputs as JSON.")
        },
    }


def _delete() -> Json:
    text = "Forget a run that has ended, with its tasks and all its files. One that others need is kept."
    deleted = operation(
        "DeleteRun", (_MORE_TAG, "Delete a run", text), {}, "404 409 429 503 default", parameters=[_RUN_ID]
    )
    del deleted["responses"]["200"]
    deleted["responses"] = {"204": {"description": "It is gone."}} | deleted["responses"]
    return deleted


def _read_log() -> Json:
    text = (
        "What the run's engine said, also while it runs. To follow it, add the length of the answer to "
        "X-Tesp-Log-Offset and go on there, while X-Tesp-Log-Live is true."
    )
    headers = {
        "X-Tesp-Log-Offset": ("Where in the whole log the answer starts.", NUMBER_FROM_0),
        "X-Tesp-Log-Total": ("Bytes written so far.", NUMBER_FROM_0),
        "X-Tesp-Log-Live": ("Whether more may come.", {"type": "string", "enum": ["true", "false"]}),
    }
    answer = {
        "description": "The bytes.",
        "headers": {
            name: {"description": said, "schema": schema} for name, (said, schema) in headers.items()
        },
        "content": {"text/plain": {"schema": TEXT}},
    }
    limit = {"type": "integer", "minimum": 1, "maximum": LOG_LIMIT_BYTES, "default": LOG_LIMIT_BYTES}
    parameters = [
        _RUN_ID,
        in_path("stream", {"type": "string", "enum": ["stdout", "stderr"]}, "Which of the two."),
        parameter("offset", NUMBER_FROM_0 | {"default": 0}, "In bytes."),
        parameter("limit", limit, "At most so many bytes."),
    ]
    about = (_MORE_TAG, "A run's own log", text)
    return operation("ReadRunLog", about, answer, "400 404 429 503 default", parameters=parameters)


def _read_file() -> Json:
    text = "A file of the run, as its outputs name it; with `Range`, a part. Of a directory, what is in it."
    path = in_path("path", TEXT, "Beneath the run's folder, with slashes in it.")
    answer = {
        "description": "The file, or the directory's list.",
        "content": {
            "application/json": {"schema": of("RunListing")},
            "*/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
    about = (_MORE_TAG, "A file of a run", text)
    return operation("ReadRunFile", about, answer, "404 416 429 503 default", parameters=[_RUN_ID, path])


def _archive(name: str, text: str) -> Json:
    answer = {
        "description": "The archive.",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
    about = (_MORE_TAG, "Files of a run as one archive", text)
    return operation(name, about, answer, "404 429 503 default", parameters=[_RUN_ID])
