"""Snakemake's executor: it submits jobs as steps, and tells Snakemake how they have ended."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from snakemake.logging import logger
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecMode

from ...inside.channel import Answer, Channel, Refused
from .checks import check_jobs
from .checksums import told_in
from .keys import StepKeys
from .steps import Steps
from .workspace import Place, Workspace, path_below

NAME = "tesp"
common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=False,
    auto_deploy_default_storage_provider=False,
)
_STDERR_LINES = 20
_BENCHMARK = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


class Expansion:
    """What the executor works with, and what it has to tell in the end."""

    def __init__(
        self, server: Channel, workspace: Workspace, parameters: Mapping[str, str], keys: StepKeys
    ) -> None:
        self.server = server
        self.workspace = workspace
        self.parameters = parameters
        self.keys = keys
        self.failures: list[str] = []
        """Why steps have failed for good, for people."""
        self.has_system_failure = False


class _LastError(logging.Handler):
    """What Snakemake itself said last in this thread: of a job that it does not take for done."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._said = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        self._said.text = record.getMessage().strip()

    def take(self) -> str:
        text = getattr(self._said, "text", "")
        self._said.text = ""
        return text


class TaskExecutor(RealExecutor):
    """Made by Snakemake when all jobs are known; see `executor_for`."""

    expansion: Expansion

    def __post_init__(self) -> None:
        expansion = self.expansion
        check_jobs(self.dag.jobs, expansion.parameters)
        self._steps = Steps(expansion.workspace, expansion.parameters, expansion.keys, self.format_job_exec)
        self._ended: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._tell_ends, name="ended jobs", daemon=True)
        self._thread.start()
        self._last_error = _LastError()
        logger.addHandler(self._last_error)
        self._failed: set[Any] = set()

    def run_job(self, job: Any) -> None:
        """Submit it, and return."""
        info = SubmittedJobInfo(job)
        try:
            check_jobs([job], self.expansion.parameters)
            step = self._steps.step(job)
        except Exception as error:
            self.report_job_submission(info)
            self._fail(info, f"rule {job.name} cannot be run: {_said(error)}", is_final=True)
            return
        self.report_job_submission(info)

        def ended(answer: Answer) -> None:
            self._ended.put(lambda: self._end(info, step, answer))

        self.expansion.server.run_step(step, ended)

    def handle_job_error(self, job: Any) -> None:
        """Note why Snakemake does not take a job for done whose task ended well: no output, say."""
        said = self._last_error.take()
        if job in self._failed:
            self._failed.discard(job)
        elif job.restart_times <= job.attempt - 1:
            self.expansion.failures.append(said or f"rule {job.name}: Snakemake does not take it for done")
        super().handle_job_error(job)

    def shutdown(self) -> None:
        self._ended.put(None)
        self._thread.join()

    def cancel(self) -> None:
        """Nothing more is told of; the server cancels the tasks of a run that has failed."""
        self.shutdown()

    def get_python_executable(self) -> str:
        return "python3"

    def get_exec_mode(self) -> ExecMode:
        return ExecMode.REMOTE

    @property
    def cores(self) -> str:
        return "all"

    def _tell_ends(self) -> None:
        while (tell := self._ended.get()) is not None:
            try:
                tell()
            except Exception as error:
                self.workflow.scheduler.executor_error_callback(error)

    def _end(self, info: SubmittedJobInfo, step: Mapping[str, Any], answer: Answer) -> None:
        name = f"step {step['name']}"
        if "error" in answer:
            self._fail(info, f"{name} was refused: {answer['message']}", is_final=True)
            return
        end = answer["value"]
        name, log = f"{name} (task {end['task_id']})", end["log"]
        exit_code = _exit_code(log)
        if end["state"] not in ("COMPLETE", "EXECUTOR_ERROR") or exit_code is None:
            is_ours = end["state"] not in ("COMPLETE", "EXECUTOR_ERROR", "CANCELED")
            said = (log.get("system_logs") or ["for a reason that its log does not tell"])[-1]
            self._fail(info, f"{name} ended {end['state']}: {said}", is_ours=is_ours)
            return
        if end["state"] != "COMPLETE" or exit_code != 0:
            self._fail(info, f"{name} ended with exit code {exit_code}{_last_lines(log)}")
            return
        try:
            self._add_outputs(step, end["document"] or step["document"], log)
            if info.job.benchmark:
                self.expansion.workspace.add_text(str(info.job.benchmark), _BENCHMARK + _measured(log))
        except (OSError, ValueError, Refused) as error:
            self._fail(info, f"{name} ended well, but its outputs cannot be used: {error}", is_final=True)
            return
        self.report_job_success(info)

    def _add_outputs(
        self, step: Mapping[str, Any], document: Mapping[str, Any], log: Mapping[str, Any]
    ) -> None:
        """Make what the task has sent known, by the paths that Snakemake has for it now.

        The `document` is that of the task: an earlier expansion may have had other names for its outputs.
        Raises: ValueError if it had other outputs.
        """
        sizes = {one["url"]: int(one["size_bytes"]) for one in log.get("outputs") or ()}
        told = told_in(log)
        workspace = self.expansion.workspace
        for path, output in _paired(step["document"]["outputs"], document["outputs"]):
            url = output["url"]
            identity = f"{step['key']} {output['path'].removeprefix(workspace.root)}"
            if output["type"] == "DIRECTORY":
                below = {path_below(url, one): one for one in sizes if one.startswith(url)}
                files = {name: Place(one, sizes[one], f"{identity} {name}") for name, one in below.items()}
                workspace.add_folder(path, Place(url, None, identity), files)
            elif url in sizes:
                workspace.add(path, Place(url, sizes[url], identity, checksums=told.get(url, {})))

    def _fail(
        self, info: SubmittedJobInfo, reason: str, *, is_final: bool = False, is_ours: bool = False
    ) -> None:
        self._failed.add(info.job)
        if is_final or info.job.restart_times <= info.job.attempt - 1:
            self.expansion.failures.append(reason)
            self.expansion.has_system_failure |= is_ours
        self.report_job_error(info, msg=reason)


def executor_for(expansion: Expansion) -> Any:
    """The executor as Snakemake's registry of plugins wants it."""

    class Plugin:
        Executor = type("Executor", (TaskExecutor,), {"expansion": expansion})

    Plugin.common_settings = common_settings  # type: ignore[attr-defined]
    return Plugin


def _paired(wanted: Sequence[Any], made: Sequence[Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The path of each output that is wanted, and the output as the task has it, in the order of the rule.

    Raises: ValueError if they are not the same outputs.
    """
    kinds = [[one["type"] for one in outputs] for outputs in (wanted, made)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"its task was made when the rule had other outputs ({len(made)}, now {len(wanted)}): a rule "
            "must have the same ones each time that the workflow is read"
        )
    return [(one["path"], other) for one, other in zip(wanted, made, strict=True)]


def _exit_code(log: Mapping[str, Any]) -> int | None:
    executors = log.get("logs") or ()
    return executors[-1].get("exit_code") if executors else None


def _last_lines(log: Mapping[str, Any]) -> str:
    """The end of the job's stderr, to follow a reason."""
    text = (log.get("logs") or [{}])[-1].get("stderr") or ""
    lines = text.rstrip().splitlines()[-_STDERR_LINES:]
    if not lines:
        return "; its stderr is empty"
    return "".join(["; the end of its stderr:", *(f"\n    {line}" for line in lines)])


def _measured(log: Mapping[str, Any]) -> str:
    """A line of a benchmark: the time that the job took; the rest is not measured."""
    executor = log["logs"][-1]
    began, ended = (datetime.fromisoformat(executor[name]) for name in ("start_time", "end_time"))
    seconds = (ended - began).total_seconds()
    minutes, rest = divmod(int(seconds), 60)
    told = f"{seconds:.4f}\t{minutes // 60}:{minutes % 60:02}:{rest:02}"
    return f"{told}\t" + "\t".join(["NA"] * 8) + "\n"


def _said(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)) + (
        f": {error.filename}" if isinstance(error, OSError) and error.filename else ""
    )
