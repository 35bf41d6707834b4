"""What WES takes and answers, as models for the OpenAPI document alone.

Source: WES 1.1, for every name and type.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from tesp_api.api.openapi_models import Organization, Uri
from tesp_api.store.run_states import RUN_TRANSITIONS
from tesp_api.tes.states import State

_MOMENT = "2026-01-31T12:00:00Z"
_COUNTED = ", ".join(RUN_TRANSITIONS)

Binary = Annotated[str, Field(json_schema_extra={"format": "binary"})]


class _RequestTexts(BaseModel):
    workflow_type: str = Field(description="The language, in upper or lower case.", examples=["CWL"])
    workflow_type_version: str = Field(description="With or without a `v`.", examples=["v1.2"])
    workflow_url: str = Field(
        description="The workflow: a URL, or the filename of an attachment. What follows a `#` names a part.",
        examples=["workflow.cwl", "https://example.org/workflow.cwl#main"],
    )
    workflow_engine: str | None = Field(
        None, description="One that service-info names; the first that knows the type, if absent."
    )
    workflow_engine_version: str | None = Field(None, description="The one that is installed, or none.")


class RunRequest(_RequestTexts):
    """What is to be run, and with which inputs."""

    workflow_params: dict[str, Any] | None = Field(
        None,
        description="The inputs, as the language has them. Files are URLs, or filenames of attachments, or "
        "`run://RUN/OUTPUT` for an output of an earlier run.",
    )
    tags: dict[str, str] | None = Field(None, description="For people; kept and shown.")
    workflow_engine_parameters: dict[str, str] | None = Field(
        None,
        description="Those that service-info names. `resume` is the id of a run that has ended: its steps "
        "that were COMPLETE are taken over.",
    )


class RunForm(_RequestTexts):
    """The same as a form: objects are JSON texts, files come along."""

    workflow_params: str | None = Field(None, description="A JSON object.")
    tags: str | None = Field(None, description="A JSON object of texts.")
    workflow_engine_parameters: str | None = Field(None, description="A JSON object of texts.")
    workflow_attachment: list[Binary] | None = Field(
        None, description="Each with a filename, which may have directories in it, but no `..`."
    )


class RunId(BaseModel):
    """A run's id."""

    run_id: str = Field(description="Sorting by id is sorting by age.")


class RunStatus(RunId):
    """A run's state."""

    state: State


class RunSummary(RunStatus):
    """A run in a list."""

    start_time: str | None = Field(None, description="UTC.", examples=[_MOMENT])
    end_time: str | None = Field(None, description="UTC.", examples=[_MOMENT])
    tags: dict[str, str] = Field(description="As they came.")


class RunListResponse(BaseModel):
    """One page of runs."""

    runs: list[RunSummary] = Field(description="The newest first.")
    next_page_token: str = Field(description="Empty on the last page.")


class Log(BaseModel):
    """What became of a run, or of a step of it."""

    name: str = Field(description="The workflow's URL, or the step's name.")
    cmd: list[str] | None = Field(None, description="The command of the step's last executor.")
    start_time: str | None = Field(None, description="UTC.", examples=[_MOMENT])
    end_time: str | None = Field(None, description="UTC.", examples=[_MOMENT])
    stdout: Uri | None = Field(None, description="Where to get it, with the same credentials.")
    stderr: Uri | None = Field(None, description="Like stdout.")
    exit_code: int | None = Field(
        None, description="Of the engine, or of the step's command.", json_schema_extra={"format": "int32"}
    )
    system_logs: list[str] | None = Field(None, description="What the server has to say.")


class RunTaskLog(Log):
    """A step of a run, which is a task."""

    id: str = Field(description="The task's, in WES and in TES.")
    tes_uri: Uri | None = Field(None, description="The task in TES.")


class RunLog(RunStatus):
    """All of a run."""

    request: RunRequest = Field(description="As it came.")
    run_log: Log = Field(description="Of the run as a whole.")
    task_logs_url: Uri = Field(description="Where the steps are, page by page.")
    task_logs: list[RunTaskLog] = Field(description="The first hundred steps.")
    outputs: dict[str, Any] = Field(
        description="What the workflow gives. Files are URLs from which they can be had with the same "
        "credentials."
    )


class TaskListResponse(BaseModel):
    """One page of a run's steps."""

    task_logs: list[RunTaskLog] = Field(description="The oldest first.")
    next_page_token: str = Field(description="Empty on the last page.")


class WorkflowTypeVersion(BaseModel):
    """Versions of a language."""

    workflow_type_version: list[str] = Field(description="The versions.")


class WorkflowEngineVersion(BaseModel):
    """Versions of an engine."""

    workflow_engine_version: list[str] = Field(description="The one that is installed.")


class DefaultWorkflowEngineParameter(BaseModel):
    """An engine parameter."""

    name: str = Field(description="As in workflow_engine_parameters.")
    type: str = Field(description="Always `string`.")
    default_value: str = Field(description="What it is if a request does not name it.")


class WesServiceType(BaseModel):
    """The standard that this server keeps."""

    group: Literal["org.ga4gh"] = Field(description="Who made it.")
    artifact: Literal["wes"] = Field(description="Which interface.")
    version: str = Field(description="Of the standard.")


class WesServiceInfo(BaseModel):
    """What this server is, and what it can run."""

    id: str = Field(description="In reverse domain name notation.")
    name: str = Field(description="A name for people.")
    type: WesServiceType = Field(description="The standard that it keeps.")
    description: str = Field(description="What the server is.")
    organization: Organization = Field(description="Who runs it.")
    environment: str = Field(description="What it is for, such as prod or test.")
    version: str = Field(description="TESP's.")
    documentationUrl: Uri = Field(description="This documentation.")  # noqa: N815
    auth_instructions_url: Uri = Field(description="Where it is said how to log in.")
    supported_wes_versions: list[str] = Field(description="Of the standard.")
    supported_filesystem_protocols: list[str] = Field(description="`run` are outputs of earlier runs.")
    workflow_type_versions: dict[str, WorkflowTypeVersion] = Field(description="Of the engines installed.")
    workflow_engine_versions: dict[str, WorkflowEngineVersion] = Field(description="What is installed.")
    default_workflow_engine_parameters: list[DefaultWorkflowEngineParameter] = Field(
        description="Those of all engines, and `resume`."
    )
    system_state_counts: dict[str, int] = Field(description=f"How many runs are {_COUNTED}.")
    tags: dict[str, str] = Field(description="None.")


class RunStep(BaseModel):
    """A step at a glance."""

    name: str = Field(description="The step's.")
    task_id: str = Field(description="As in the run's tasks.")
    state: State = Field(description="UNKNOWN if its task was deleted.")
    reused_from: str | None = Field(None, description="The run from which it was taken over.")


class RunSteps(BaseModel):
    """A run's state, and one page of its steps."""

    state: State
    steps: list[RunStep] = Field(description="The oldest first.")
    next_page_token: str | None = Field(None, description="Absent on the last page.")


class RunFile(BaseModel):
    """A file in a directory of a run."""

    path: str = Field(description="Beneath the directory.")
    url: Uri = Field(description="Where to get it.")
    size_bytes: str = Field(description="As a string.", json_schema_extra={"format": "int64"})


class RunListing(BaseModel):
    """What is in a directory of a run, with all below it."""

    files: list[RunFile] = Field(description="By name.")
