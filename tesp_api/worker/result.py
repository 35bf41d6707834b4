"""The result: how the attempt ended, as result.json says it."""

from __future__ import annotations

import errno
import os
from typing import Any

from .job import JobDirectory, encode_json, now, replace_file

COMPLETE = "COMPLETE"
EXECUTOR_ERROR = "EXECUTOR_ERROR"
SYSTEM_ERROR = "SYSTEM_ERROR"
CANCELED = "CANCELED"


class Result:
    """Filled while the attempt runs; COMPLETE unless something else is said."""

    def __init__(self, worker: str = "") -> None:
        self.worker = worker
        self.state = COMPLETE
        self.reason = ""
        self.cause = ""
        self.begun = 0
        self.started_at = now()
        self.executors: list[dict[str, Any]] = []
        self.inputs: list[dict[str, Any]] = []
        self.outputs: list[dict[str, Any]] = []
        self.left: list[dict[str, Any]] = []
        self.metadata: dict[str, str] = {"host": os.uname().nodename}

    def end(self, state: str, reason: str, cause: str) -> None:
        """The first reason stays: what follows it is its consequence."""
        if self.state == COMPLETE:
            self.state, self.reason, self.cause = state, reason, cause

    def cancel(self, reason: str) -> None:
        """A cancel outdoes an executor's failure."""
        self.state, self.reason, self.cause = CANCELED, reason, ""

    def write(self, job: JobDirectory, system_logs: list[str]) -> None:
        """Raises: OSError if the disk does not allow it."""
        document = {
            "version": 1,
            "state": self.state,
            "reason": self.reason,
            "cause": self.cause,
            "begun": self.begun,
            "worker": self.worker,
            "started_at": self.started_at,
            "ended_at": now(),
            "executors": self.executors,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "left": self.left,
            "system_logs": system_logs,
            "metadata": self.metadata,
        }
        replace_file(job.result, encode_json(document), durable=True)


def describe_unforeseen(error: BaseException) -> str:
    """Type, message and where, for an error that nobody planned for; a full disk is named as such."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = ""
    if trace is not None:
        code = trace.tb_frame.f_code
        where = f" (in {code.co_name}, {code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk with the job's directory is full: {error.strerror}{where}"
    return f"{type(error).__name__}: {error}{where}"
