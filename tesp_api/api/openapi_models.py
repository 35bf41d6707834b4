"""What the API answers, as models for the OpenAPI document alone: the answers themselves are plain JSON.

A class that is called `TaskLog` here is the component `tesTaskLog` in the document. Requests are
described by the models that read them, in `tes/tasks.py`.
Source: TES 1.1; GA4GH service-info 1.0.0.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from tesp_api.api.bulk import MOST_TASKS
from tesp_api.tes.fields import FileType
from tesp_api.tes.states import State
from tesp_api.tes.tasks import Executor, Input, Output, Resources, TaskDocument

_READ_ONLY: JsonDict = {"readOnly": True}
_MOMENT = "2026-01-31T12:00:00.000000+00:00"

Uri = Annotated[str, Field(json_schema_extra={"format": "uri"})]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class ExecutorLog(BaseModel):
    """How one executor ended. It is listed from then on; while it runs, ask `/tesp/v1` for its output."""

    start_time: str | None = Field(None, description="RFC 3339, in UTC.", examples=[_MOMENT])
    end_time: str | None = Field(None, description="RFC 3339, in UTC.", examples=[_MOMENT])
    stdout: str | None = Field(
        None,
        description="The end of it (64 KiB, unless the server is set to another length), in the view FULL "
        "alone. What is not UTF-8 becomes U+FFFD.",
    )
    stderr: str | None = Field(None, description="Like stdout.")
    exit_code: int = Field(
        description="The command's; 137 if it was canceled.", json_schema_extra={"format": "int32"}
    )


class OutputFileLog(BaseModel):
    """A file that was sent; directories are told by their files."""

    url: str = Field(description="Where it is now.", examples=["file:///data/results/counts.txt"])
    path: str = Field(description="Where it was in the containers.", examples=["/data/counts.txt"])
    size_bytes: str = Field(
        description="Its size in bytes, as a string.",
        json_schema_extra={"format": "int64"},
        examples=["1024"],
    )


class TaskLog(BaseModel):
    """One attempt to run the task."""

    logs: list[ExecutorLog] = Field(description="The executors that have ended, in order.")
    metadata: dict[str, str] | None = Field(
        None, description="Where and how it ran.", examples=[{"destination": "local", "host": "node-7"}]
    )
    start_time: str | None = Field(None, description="RFC 3339, in UTC.", examples=[_MOMENT])
    end_time: str | None = Field(None, description="RFC 3339, in UTC.", examples=[_MOMENT])
    outputs: list[OutputFileLog] = Field(description="The files that were sent.")
    system_logs: list[str] | None = Field(
        None,
        description="What the server has to say: warnings, what was left out, why a task failed. In the view "
        "FULL alone.",
    )


class Task(TaskDocument):
    """A task: what its creator sent, and what became of it.

    Fields that the creator left out are left out in answers too.
    """

    id: str | None = Field(
        None,
        description="Given by the server. Sorting by id is sorting by age.",
        json_schema_extra=_READ_ONLY,
        examples=["01980a5e-7c1b-7000-8a3b-2f1d9c0e4b5a"],
    )
    state: State | None = None
    logs: list[TaskLog] | None = Field(
        None, description="One entry for each attempt, the latest last.", json_schema_extra=_READ_ONLY
    )
    creation_time: str | None = Field(
        None, description="RFC 3339, in UTC.", json_schema_extra=_READ_ONLY, examples=[_MOMENT]
    )


class CreateTaskResponse(BaseModel):
    """The task is stored, and will be run even if the server is killed now."""

    id: str = Field(description="For asking about the task.")


class CancelTaskResponse(BaseModel):
    """Says nothing: ask for the task's state to see whether its end has come."""


class ListTasksResponse(BaseModel):
    """One page of tasks, the newest first."""

    tasks: list[Task] = Field(description="In the view that was asked for.")
    next_page_token: str | None = Field(
        None, description="Give it as page_token to get the next page; absent on the last."
    )


class ServiceType(BaseModel):
    """Which interface of the GA4GH this is."""

    group: str = Field(description="Whose interface.", examples=["org.ga4gh"])
    artifact: Literal["tes"] = Field(description="Which interface.", json_schema_extra={"enum": ["tes"]})
    version: str = Field(description="Of the interface, not of this server.", examples=["1.1.0"])


class Organization(BaseModel):
    """Who runs the server."""

    name: str = Field(description="For people.")
    url: Uri = Field(description="Its web page.")


class ServiceInfo(BaseModel):
    """What the server says about itself; most of it is in its settings."""

    id: str = Field(description="A name for programs, with the domain reversed.", examples=["org.tesp.tes"])
    name: str = Field(description="A name for people.")
    type: ServiceType
    description: str | None = Field(None, description="Also names what TESP offers beyond the standard.")
    organization: Organization
    contactUrl: Uri | None = Field(None, description="Not told by this server.")  # noqa: N815
    documentationUrl: Uri | None = Field(None, description="Not told by this server.")  # noqa: N815
    createdAt: Moment | None = Field(None, description="Not told by this server.")  # noqa: N815
    updatedAt: Moment | None = Field(None, description="Not told by this server.")  # noqa: N815
    environment: str | None = Field(None, description="What it is used for.", examples=["prod", "test"])
    version: str = Field(description="Of this server's software.")
    storage: list[str] | None = Field(
        None,
        description="The folders from which tasks may take files and to which they may send them. http and "
        "https need no entry.",
        examples=[["file:///data"]],
    )
    tesResources_backend_parameters: list[str] | None = Field(  # noqa: N815
        None, description="The keys that resources.backend_parameters may have."
    )


STANDARD = {
    model.__name__: f"tes{model.__name__}"
    for model in (
        *(State, FileType, Input, Output, Executor, Resources, ExecutorLog, OutputFileLog, TaskLog, Task),
        *(CreateTaskResponse, CancelTaskResponse, ListTasksResponse, ServiceType, ServiceInfo),
    )
}
"""The component's name in the standard for each model that the standard knows."""


class TaskState(BaseModel):
    """A task in the view MINIMAL, with nothing else."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(description="Sorting by id is sorting by age.")
    state: State


class TaskStates(BaseModel):
    """One page of tasks in the view MINIMAL."""

    tasks: list[TaskState] = Field(description="The newest first.")
    next_page_token: str | None = Field(None, description="As in tesListTasksResponse.")


class ServiceInfo10(BaseModel):
    """The service-info of TES 1.0."""

    name: str = Field(description="A name for people.")
    doc: str = Field(description="What the server is.")
    storage: list[str] = Field(description="The folders that tasks may name.")


class Event(BaseModel):
    """Something that is said of an attempt. Fields that an event does not have, or not know, are absent."""

    seq: int = Field(description="Its number within the attempt, from 0.")
    time: str = Field(description="RFC 3339, in UTC, by the clock of who says it.", examples=[_MOMENT])
    event: Literal[
        "initializing",
        "executor_started",
        "executor_ended",
        "staging_out",
        "message",
        "transfer",
        "ended",
    ] = Field(description="What happened; clients should pass over those that they do not know.")
    executor: int | None = Field(None, description="executor_*: its number in the task, from 0.")
    exit_code: int | None = Field(None, description="executor_ended: the command's.")
    started_at: str | None = Field(None, description="executor_ended: RFC 3339, in UTC.")
    ended_at: str | None = Field(None, description="executor_ended: RFC 3339, in UTC.")
    stdout_bytes: int | None = Field(None, description="executor_ended: how much it wrote, dropped or not.")
    stderr_bytes: int | None = Field(None, description="executor_ended: the same.")
    text: str | None = Field(None, description="message: a line of the task's system_logs.")
    state: State | None = Field(None, description="ended: how, as the worker sees it.")
    direction: Literal["input", "output"] | None = Field(None, description="transfer: which way.")
    url: str | None = Field(None, description="transfer: the declared input's or output's, without secrets.")
    path: str | None = Field(None, description="transfer: the declared one, in the containers.")
    done_bytes: int | None = Field(None, description="transfer: moved so far; less if it begins anew.")
    total_bytes: int | None = Field(None, description="transfer: of a single file, where that is known.")
    files_done: int | None = Field(None, description="transfer: files moved so far.")
    files_total: int | None = Field(
        None, description="transfer: how many there are; unknown of directories that are fetched."
    )
    ended: bool | None = Field(None, description="transfer: whether it is over, be the end good or not.")


class Events(BaseModel):
    """What was said of an attempt so far."""

    events: list[Event] = Field(description="The oldest first.")
    attempt: int = Field(
        description="Whose they are; 0 before the first. Each attempt counts its events anew."
    )
    live: bool = Field(description="Whether more may come.")


class MovedFile(BaseModel):
    """A file that came to the task or went out of it."""

    direction: Literal["input", "output"] = Field(description="Which way it went.")
    path: str = Field(description="In the containers.")
    url: str | None = Field(None, description="Without secrets; absent for an input with content.")
    size_bytes: int = Field(description="Counted on its way.")
    sha256: str | None = Field(
        None, description="Of what passed, in hexadecimal digits; absent for what stayed where it lies."
    )


class Files(BaseModel):
    """What an attempt has moved: inputs, then outputs."""

    files: list[MovedFile] = Field(description="Empty until the attempt has ended.")
    next_page_token: str | None = Field(None, description="Absent on the last page.")
    live: bool = Field(description="Whether more may come.")


class HistoryEntry(BaseModel):
    """A state that the task came into."""

    time: str = Field(description="RFC 3339, in UTC.", examples=[_MOMENT])
    state: State
    attempt: int = Field(description="The number of the attempt, from 1; 0 before the first.")
    reason: str = Field(description="Why, in one line.")


class History(BaseModel):
    """Every state that the task has been in, the oldest first. States of TES 1.1 are told as such."""

    id: str = Field(description="The task's.")
    history: list[HistoryEntry] = Field(description="At least the state QUEUED.")
    waits_for: str | None = Field(
        default=None,
        description="What it waits for, as the server that answers knows, while none has taken it: servers"
        " that share a database take no more tasks than they have room for. Otherwise the history says it.",
    )


class NewTasks(BaseModel):
    """Tasks to create."""

    tasks: list[Task] = Field(
        description="Each is stored or refused on its own.",
        json_schema_extra={"minItems": 1, "maxItems": MOST_TASKS},
    )


class BulkOutcome(BaseModel):
    """What became of one of the tasks: it has either an id or an error."""

    index: int = Field(description="Its place in the request, from 0.")
    id: str | None = Field(None, description="For asking about the task.")
    error: "Error | None" = Field(None, description="Why it was not stored; 429, 503: try it again later.")


class BulkAnswer(BaseModel):
    """What became of each task, in the order of the request."""

    tasks: list[BulkOutcome] = Field(description="One for each task.")


class DryRun(BaseModel):
    """What would become of the task."""

    valid: bool = Field(description="Whether CreateTask would take it.")
    faults: list["Fault"] = Field(description="Everything that is wrong with it, up to a hundred faults.")
    warnings: list[str] = Field(
        description="What would be left out, and what will keep it from running well: urls of files that lie "
        "outside of the destination's folders."
    )
    destination: str | None = Field(
        None, description="Where it would go if it came now; there only for a valid task."
    )


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = Field(description="Always the same.")


class PartHealth(BaseModel):
    """Whether a part of the server does its work."""

    ok: bool = Field(description="Whether it answered in time, and without an error.")
    error: str | None = Field(None, description="Why not.")


class Readiness(BaseModel):
    """Whether the server can do its work."""

    status: Literal["ready", "not ready"] = Field(
        description="Ready if the store and at least one destination answer."
    )
    parts: dict[str, PartHealth] = Field(description="The store, and each destination, by name.")


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    field: str = Field(
        description="Where: a field of the body, or a parameter.", examples=["executors[0].image"]
    )
    message: str = Field(description="What is wrong, and what to do about it.")


class Limit(BaseModel):
    """A limit that was reached."""

    name: str = Field(description="The setting.", examples=["limits.user.live_tasks"])
    value: float = Field(description="What it is set to.", examples=[1000])
    used: float = Field(description="How much is taken.", examples=[1000])
    retry_after_s: int = Field(description="As in Retry-After.", examples=[10])


class Allowed(BaseModel):
    """Limits; those that there are not are absent."""

    requests_per_s: float | None = Field(
        None,
        description="In the long run. What a request costs beyond an ordinary one counts as further ones.",
    )
    requests_burst: int | None = Field(None, description="So many more at once, after a time without any.")
    lists_at_once: int | None = Field(None, description="Costly lists; further ones wait for their turn.")
    streams_at_once: int | None = Field(None, description="Streams, and requests that wait.")
    live_tasks: int | None = Field(None, description="Tasks that have not ended.")
    stored_tasks: int | None = Field(None, description="All tasks, until they are deleted.")
    stored_log_bytes: int | None = Field(None, description="What is kept of their output.")


class Used(BaseModel):
    """What is taken; some seconds old at most, or longer where there is much to count."""

    live_tasks: int = Field(description="Tasks that have not ended.")
    stored_tasks: int = Field(description="All tasks, until they are deleted.")
    stored_log_bytes: int = Field(
        description="What is kept of the output of tasks that have ended, at least."
    )


class UserLimits(BaseModel):
    """What you may take, and have."""

    name: str = Field(description="Who you are.")
    limits: Allowed
    used: Used


class OverallLimits(BaseModel):
    """What all may take together; what they have is for admins."""

    limits: Allowed
    used: Used | None = None


class Limits(BaseModel):
    """How much of the server may be taken."""

    user: UserLimits
    all: OverallLimits
    max_body_bytes: int = Field(description="The largest body that a request may have.")


class Error(BaseModel):
    """What went wrong."""

    status_code: int = Field(description="The answer's status, once more.", examples=[400])
    msg: str = Field(description="For people.")
    faults: list[Fault] | None = Field(
        None, description="Everything that is wrong with the request, up to a hundred faults; with 400 alone."
    )
    limit: Limit | None = Field(None, description="The limit that was reached; with 429 alone.")
