"""The OpenAPI document that the server serves at `/openapi.json`.

The schemas come from the models that read requests and from those that describe answers, the operations
from `openapi_operations.py`.
Source: TES 1.1, for every path, name, type and default under `/ga4gh/tes/v1`.
"""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from tesp_api.api import openapi_live_models as live
from tesp_api.api import openapi_models as models
from tesp_api.api import openapi_wes_models as wes
from tesp_api.api.openapi_operations import operations
from tesp_api.api.openapi_parts import PARAMETERS, REFUSALS
from tesp_api.api.openapi_webhooks import WEBHOOK_ANSWERS
from tesp_api.api.openapi_wes import wes_paths
from tesp_api.tes.states import State

Json = dict[str, Any]

_DESCRIPTION = """Runs containers as tasks, by the GA4GH standard TES 1.1, and workflows, by WES 1.1.

To try it, open `POST /ga4gh/tes/v1/tasks` and execute the example as it stands; then give the id that it
answers to `GET /ga4gh/tes/v1/tasks/{id}`, with the view FULL to see what the task printed.

Nobody has to log in. Parameters and fields that nobody knows are ignored, a null or an empty parameter counts
as absent, and answers contain no nulls."""

_TAGS = {
    "TaskService": "TES 1.1",
    "TaskService at /v1": "The same tasks for clients of TES 1.0: CANCELING is shown as CANCELED, and "
    "PREEMPTED as SYSTEM_ERROR.",
    "Workflow Runs": "WES 1.1: whole workflows, whose steps are tasks",
    "Extensions": "What TESP offers beyond the standard",
    "Extensions for runs": "What TESP offers for workflow runs beyond the standard",
    "Health": "For whoever runs the server",
}

_ANSWERS: tuple[type[BaseModel], ...] = (
    *(models.Task, models.CreateTaskResponse, models.CancelTaskResponse, models.ListTasksResponse),
    *(models.ServiceInfo, models.ServiceInfo10, models.TaskState, models.TaskStates),
    *(models.NewTasks, models.BulkAnswer, models.DryRun),
    *(models.Events, models.Files, models.History, models.Limits),
    *(live.TaskRow, live.TaskRows, live.Counts, live.Destinations, live.Me),
    *(models.Alive, models.Readiness, models.Error),
    *WEBHOOK_ANSWERS,
)

_WES_TAGS = ("Workflow Runs", "Extensions for runs")
_WES_ANSWERS: tuple[type[BaseModel], ...] = (
    *(wes.RunRequest, wes.RunForm, wes.RunId, wes.RunStatus, wes.RunSummary, wes.RunListResponse),
    *(wes.RunLog, wes.RunTaskLog, wes.TaskListResponse, wes.WesServiceInfo),
    *(wes.RunSteps, wes.RunListing),
)

_STATE = """Where the task is in its life.

- `QUEUED`: waits for its turn; also between two attempts.
- `INITIALIZING`: a compute site prepares it: images, inputs.
- `RUNNING`: the first executor has started. Outputs are sent in this state too.
- `COMPLETE`: every executor ended well, and every output was sent.
- `EXECUTOR_ERROR`: an executor ended with an exit code other than 0.
- `SYSTEM_ERROR`: something else failed, such as an input, an output or the site; system_logs say what.
- `CANCELING`: somebody canceled it, and it has not stopped yet.
- `CANCELED`: somebody canceled it, and it has stopped.
- `PREEMPTED`: the site took its machine away.
- `UNKNOWN`, `PAUSED`: in the standard; no task here is ever in them."""

_ENUMERATIONS: Json = {
    "tesState": {"description": _STATE, "default": State.UNKNOWN.value, "readOnly": True},
    "tesFileType": {"description": "A file, or a directory with all below it.", "default": "FILE"},
}
"""What the standard says of these components besides their values."""


def openapi_document(version: str, root_path: str = "", *, with_wes: bool = True) -> Json:
    """The document for this server, whose own version is `version`, and whose paths begin at `root_path`."""
    tags = {name: text for name, text in _TAGS.items() if with_wes or name not in _WES_TAGS}
    paths = operations() | (wes_paths() if with_wes else {})
    answers = _ANSWERS + (_WES_ANSWERS if with_wes else ())
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "TESP: GA4GH Task Execution Service",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": root_path or "/"}],
        "tags": [{"name": name, "description": text} for name, text in tags.items()],
        "paths": paths,
        "components": {"schemas": _schemas(answers), "parameters": PARAMETERS, "responses": REFUSALS},
    }


def _schemas(answers: tuple[type[BaseModel], ...]) -> Json:
    """Every model that an answer or a request needs, by the name of its component."""
    _, found = models_json_schema(
        [(model, "validation") for model in answers],
        ref_template="#/components/schemas/{model}",
        schema_generator=_ClientsView,
    )
    schemas: Json = found["$defs"]
    for name, more in _ENUMERATIONS.items():
        schemas[name] |= more
    for schema in schemas.values():
        del schema["title"]  # the class's name, which a page would show instead of the component's
    return {name: schemas[name] for name in sorted(schemas)}


class _ClientsView(GenerateJsonSchema):
    """The schemas as a client needs them: what is optional may be left out, and is never null in answers."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def normalize_name(self, name: str) -> str:
        """The name of a model's component."""
        plain = super().normalize_name(name)
        return models.STANDARD.get(plain, plain)
