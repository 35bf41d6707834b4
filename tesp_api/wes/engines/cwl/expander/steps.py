"""A step: a command-line tool with its inputs as a TES task, and what becomes of it."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from cwltool.command_line_tool import CommandLineTool
from cwltool.errors import UnsupportedRequirement, WorkflowException
from cwltool.job import JobBase
from cwltool.process import shortname
from cwltool.utils import visit_files

from .files import RunFiles, encoded, plain
from .keys import StepKeys
from .server import Server
from .staging import LITERALS, WRITABLE

INLINE_MAX_BYTES = 64 * 1024
_NEVER_NAMED = re.compile(r"[^A-Za-z0-9_.-]+")
_UNSUPPORTED_DOCKER = ("dockerFile", "dockerLoad", "dockerImport")
_STDERR_LINES = 20
_TOLD: tuple[str, ...] = ("image", "command", "workdir", "stdin", "stdout", "stderr", "env")
"""Of an executor, what makes a step what it is."""


class Expansion:
    """What the steps of one run share."""

    def __init__(self, server: Server, files: RunFiles, work_url: str, run_id: str) -> None:
        self.server = server
        self.files = files
        self.work_url = work_url
        self.run_id = run_id
        self.keys = StepKeys(work_url, files.identity)
        self.failures: list[str] = []
        """Why steps have failed, for people."""
        self.has_system_failure = False
        self._literals: set[str] = set()

    def store_literal(self, name: str, content: str) -> str:
        """The URL of a file with this content, which is made if need be."""
        data = content.encode()
        url = f"{self.work_url}literals/{hashlib.sha256(data).hexdigest()}/{quote(name)}"
        if url not in self._literals:
            self.files.write(url, data)
            self._literals.add(url)
        return url

    def fail(self, reason: str) -> None:
        """Note why a step has failed."""
        self.failures.append(reason)
        self.server.log("stderr", reason + "\n")


class TaskTool(CommandLineTool):
    """A command-line tool whose jobs are tasks."""

    def __init__(self, document: Any, loading: Any, *, expansion: Expansion) -> None:
        super().__init__(document, loading)
        self._expansion = expansion
        self._document = json.loads(json.dumps(self.tool, default=str))
        docker, is_required = self.get_requirement("DockerRequirement")
        if docker and is_required and "dockerPull" not in docker and "dockerImageId" not in docker:
            asked = ", ".join(one for one in _UNSUPPORTED_DOCKER if one in docker) or "no dockerPull"
            raise UnsupportedRequirement(
                f"Unsupported requirement DockerRequirement with {asked}: images are named by dockerPull"
            )

    def make_job_runner(self, runtimeContext: Any) -> Callable[..., TaskJob]:  # noqa: N803
        """What makes a job of a tool with its inputs."""
        reuse, _ = self.get_requirement("WorkReuse")
        docker = self.get_requirement("DockerRequirement")[0] or {}
        return functools.partial(
            TaskJob,
            expansion=self._expansion,
            step_name=runtimeContext.name or shortname(self.tool["id"]),
            tool=self._document,
            image=docker.get("dockerPull") or docker.get("dockerImageId") or runtimeContext.default_container,
            may_be_reused=bool((reuse or {}).get("enableReuse", True)),
            asked=set(self.get_requirement("ResourceRequirement")[0] or {}),
        )


class TaskJob(JobBase):
    """One step. `run` submits it and returns; the executor's callback is called when its task has ended."""

    def __init__(
        self,
        *arguments: Any,
        expansion: Expansion,
        step_name: str,
        tool: Mapping[str, Any],
        image: str,
        may_be_reused: bool,
        asked: set[str],
    ) -> None:
        super().__init__(*arguments)
        self._expansion = expansion
        self._step_name = step_name
        self._tool = tool
        self._image = image
        self._may_be_reused = may_be_reused
        self._asked = asked

    def _required_env(self) -> dict[str, str]:
        return {"HOME": self.builder.outdir, "TMPDIR": self.builder.tmpdir}

    def run(self, runtimeContext: Any, tmpdir_lock: Any = None) -> None:  # noqa: N803
        """Submit the task; a step that cannot be one has failed at once."""
        try:
            step = self._step(runtimeContext)
        except FileNotFoundError as error:
            self._finish({}, "permanentFail", f"step {self.name} cannot be run: {error.strerror}")
            return
        except WorkflowException as error:
            self._finish({}, "permanentFail", f"step {self.name} cannot be run: {error}")
            return
        self._expansion.server.run_step(step, functools.partial(self._ended, step))

    def _step(self, context: Any) -> dict[str, Any]:
        inputs, folders = self._inputs(context)
        if not self.command_line:
            raise WorkflowException("its command is empty")
        executor = self._executor()
        told = {name: executor[name] for name in _TOLD if name in executor}
        if not self._may_be_reused:
            told["run"] = self._expansion.run_id
        key = self._expansion.keys.key(self._step_name, self._tool, told, inputs)
        name = _NEVER_NAMED.sub("-", self.name)[:60]
        parameters = {"checksums": "sha1"}
        if copied := [item["path"] for item in inputs if item.pop("writable", False)]:
            parameters["copied_inputs"] = json.dumps(copied)
        if self.timelimit:
            parameters["running_s"] = str(self.timelimit)
        url = plain(f"{self._expansion.work_url}steps/{name}-{key[:16]}-{key.rpartition('-')[2]}/")
        document = {
            "name": self.name,
            "inputs": [{**item, **({"url": plain(item["url"])} if "url" in item else {})} for item in inputs],
            "outputs": [{"path": self.builder.outdir, "url": url, "type": "DIRECTORY"}],
            "volumes": [self.builder.outdir, *folders],
            "executors": [executor],
            "resources": {**self._resources(), "backend_parameters": parameters},
        }
        codes = sorted({*self.successCodes, *([0] if self._status(0) == "success" else [])})
        return {"key": key, "name": self.name, "document": document, "success_codes": codes}

    def _executor(self) -> dict[str, Any]:
        outdir = self.builder.outdir
        executor = {
            "image": self._image,
            "command": [str(word) for word in self.command_line],
            "workdir": outdir,
            "env": {name: str(value) for name, value in self.environment.items()},
        }
        if self.stdin:
            executor["stdin"] = self.stdin
        for name in ("stdout", "stderr"):
            if value := getattr(self, name):
                executor[name] = posixpath.join(outdir, value)
        if any(code != 0 for code in self.successCodes):
            executor["ignore_error"] = True
        return executor

    def _inputs(self, context: Any) -> tuple[list[dict[str, Any]], list[str]]:
        """The task's inputs, one for each place, and the directories that begin empty."""
        self.generatemapper = self.make_path_mapper(
            self.generatefiles["listing"], self.builder.outdir, context, False
        )
        found: dict[str, dict[str, Any]] = {}
        folders = []
        for entry in (*self.pathmapper, *self.generatemapper):
            if not entry.staged:
                continue
            if entry.type in LITERALS:
                found[entry.target] = self._literal(entry)
            elif entry.resolved.startswith("_:"):
                folders.append(entry.target)
            else:
                kind = "DIRECTORY" if entry.type.endswith("Directory") else "FILE"
                found[entry.target] = {"path": entry.target, "url": entry.resolved, "type": kind}
                if entry.type in WRITABLE:
                    found[entry.target]["writable"] = True
        inputs = [found[path] for path in sorted(found)]
        empty = [one for one in folders if not any(path.startswith(f"{one}/") for path in found)]
        return inputs, sorted(set(empty) - {self.builder.outdir})

    def _literal(self, entry: Any) -> dict[str, Any]:
        if len(entry.resolved.encode()) <= INLINE_MAX_BYTES:
            return {"path": entry.target, "content": entry.resolved, "type": "FILE"}
        url = self._expansion.store_literal(posixpath.basename(entry.target), entry.resolved)
        return {"path": entry.target, "url": url, "type": "FILE"}

    def _resources(self) -> dict[str, Any]:
        """What the tool asks for, and no defaults: a limit of memory that nobody has set would only hurt."""
        given = self.builder.resources
        wanted: dict[str, Any] = {}
        if self._asked & {"coresMin", "coresMax"}:
            wanted["cpu_cores"] = max(1, math.ceil(given["cores"]))
        if self._asked & {"ramMin", "ramMax"}:
            wanted["ram_gb"] = given["ram"] * 2**20 / 1e9
        if self._asked & {"tmpdirMin", "tmpdirMax", "outdirMin", "outdirMax"}:
            wanted["disk_gb"] = (given["tmpdirSize"] + given["outdirSize"]) * 2**20 / 1e9
        return wanted

    def _ended(self, step: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        if "error" in answer:
            self._finish({}, "permanentFail", f"step {self.name} was refused: {answer['message']}")
            return
        end = answer["value"]
        task, log = f"step {self.name} (task {end['task_id']})", end["log"]
        exit_code = _exit_code(log)
        if end["state"] not in ("COMPLETE", "EXECUTOR_ERROR") or exit_code is None:
            self._expansion.has_system_failure |= end["state"] not in (
                "COMPLETE",
                "EXECUTOR_ERROR",
                "CANCELED",
            )
            said = (log.get("system_logs") or ["for a reason that its log does not tell"])[-1]
            self._finish({}, "permanentFail", f"{task} ended {end['state']}: {said}")
            return
        status = self._status(exit_code)
        if status != "success":
            self._finish({}, status, f"{task} ended with exit code {exit_code}{_last_lines(log)}")
            return
        try:
            folder = self._add_outputs(end["document"] or step["document"], step["key"], log)
            outputs = self.collect_outputs(folder, exit_code)
            visit_files(outputs, self._add_sha1)
        except (WorkflowException, OSError, ValueError) as error:
            self._finish(
                {}, "permanentFail", f"{task} ended well, but its outputs cannot be collected: {error}"
            )
            return
        self._finish(outputs, status)

    def _status(self, exit_code: int) -> str:
        """Source: CWL v1.2, CommandLineTool: successCodes, temporaryFailCodes, permanentFailCodes."""
        if exit_code in self.successCodes:
            return "success"
        if exit_code in self.temporaryFailCodes:
            return "temporaryFail"
        return "success" if exit_code == 0 and exit_code not in self.permanentFailCodes else "permanentFail"

    def _add_outputs(self, document: Mapping[str, Any], key: str, log: Mapping[str, Any]) -> str:
        """Make what the task has sent known; returns the URL of its output directory."""
        folder = encoded(document["outputs"][0]["url"].rstrip("/"))
        told = {one["url"]: one for one in json.loads((log.get("metadata") or {}).get("outputs") or "[]")}
        self._expansion.files.add_step(
            folder,
            key,
            {
                encoded(one["url"]): (int(one["size_bytes"]), told.get(one["url"], {}).get("sha1", ""))
                for one in log.get("outputs") or ()
            },
        )
        return folder

    def _add_sha1(self, file: dict[str, Any]) -> None:
        sha1 = self._expansion.files.sha1(file.get("location", ""))
        if sha1:
            file["checksum"] = f"sha1${sha1}"

    def _finish(self, outputs: dict[str, Any], status: str, failure: str = "") -> None:
        if failure:
            self._expansion.fail(failure)
        self.output_callback(outputs, status)


def _exit_code(log: Mapping[str, Any]) -> int | None:
    executors = log.get("logs") or ()
    return executors[-1].get("exit_code") if executors else None


def _last_lines(log: Mapping[str, Any]) -> str:
    """The end of the tool's stderr, to follow a reason."""
    text = (log.get("logs") or [{}])[-1].get("stderr") or ""
    lines = text.rstrip().splitlines()[-_STDERR_LINES:]
    return (
        "".join(["; the end of its stderr:", *(f"\n    {line}" for line in lines)])
        if lines
        else "; its stderr is empty"
    )
