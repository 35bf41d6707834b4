"""What clients that cannot run here can read of an answer; reading fails where the client's would.

The strictness is each client's own: a number where it wants a string is an error.
"""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

TES_1_0_STATES = Literal[
    "UNKNOWN",
    "QUEUED",
    "INITIALIZING",
    "RUNNING",
    "PAUSED",
    "COMPLETE",
    "EXECUTOR_ERROR",
    "SYSTEM_ERROR",
    "CANCELED",
]


class _Read(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _OutputLog(_Read):
    url: str
    path: str
    size_bytes: str


class _CrankshaftExecutorLog(_Read):
    start_time: AwareDatetime | None = Field(None, strict=False)
    end_time: AwareDatetime | None = Field(None, strict=False)
    stdout: str | None = None
    stderr: str | None = None
    exit_code: int


class _CrankshaftTaskLog(_Read):
    logs: list[_CrankshaftExecutorLog]
    outputs: list[_OutputLog]
    start_time: AwareDatetime | None = Field(None, strict=False)
    end_time: AwareDatetime | None = Field(None, strict=False)
    system_logs: list[str] | None = None


class CrankshaftTask(_Read):
    """Source: the crate tes 0.10.1, src/v1/types/responses.rs (what is no Option must be there)."""

    id: str
    state: str
    executors: list[dict[str, Any]]
    tags: dict[str, str] | None = None
    logs: list[_CrankshaftTaskLog] | None = None
    creation_time: AwareDatetime | None = Field(None, strict=False)


class _CromwellExecutorLog(_Read):
    start_time: str | None = None
    end_time: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    exit_code: int | None = None


class _CromwellTaskLog(_Read):
    start_time: str | None = None
    end_time: str | None = None
    metadata: dict[str, str] | None = None
    logs: list[_CromwellExecutorLog] | None = None
    outputs: list[_OutputLog] | None = None
    system_logs: list[str] | None = None


class CromwellTask(_Read):
    """Source: broadinstitute/cromwell at c805f3c, TesTask.scala (340-408).

    A size is made a number from a string, and refused as a number: TesResponseJsonFormatter.scala (14-29).
    """

    id: str
    state: str
    executors: list[dict[str, Any]]
    tags: dict[str, str | None] | None = None
    logs: list[_CromwellTaskLog] | None = None


class _NextflowExecutorLog(_Read):
    start_time: str | None = None
    end_time: str | None = None
    exit_code: int


class _NextflowTaskLog(_Read):
    logs: list[_NextflowExecutorLog]
    outputs: list[_OutputLog] | None = None
    metadata: dict[str, str] | None = None


class NextflowTask(_Read):
    """Source: nextflow-io/nf-ga4gh at 95f43e3, client/model/*.java; TesTaskHandler.groovy (143-160)."""

    id: str
    state: str
    creation_time: str | None = None
    logs: list[_NextflowTaskLog] | None = None
