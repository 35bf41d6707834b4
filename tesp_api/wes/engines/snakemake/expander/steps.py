"""A job of Snakemake as a TES task."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from snakemake.shell import shell

from .checksums import asked_of
from .images import image_of
from .keys import StepKeys
from .scripts import script_command
from .workspace import Place, Workspace, absolute

_STRICT = "set -euo pipefail; "
_THREADS = ("OMP_NUM", "GOTO_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM", "NUMEXPR_NUM")
_LATER_ATTEMPTS = 5
_FRAME = """set -e
{prepare}
shell={shell}
[ -n "$shell" ] || shell=bash
command -v "$shell" > /dev/null || shell=sh
strict=$1
"$shell" -c 'set -o pipefail' 2> /dev/null || [ "$strict" != "{strict}" ] || strict='set -eu; '
"$shell" -c "$strict$2"
{check}"""
"""What is run: makes directories as Snakemake does, and sees that the outputs are there.

Its parameters are the rule's name, what goes before the command, and the command.
"""

_CHECK = """for path in {made}; do
    [ -e "$path" ] || {{ echo "rule $0 has not made $path" >&2; exit 1; }}
done"""


class Steps:
    """Makes steps of jobs. `job_exec` gives the command with which Snakemake itself runs a job."""

    def __init__(
        self,
        workspace: Workspace,
        parameters: Mapping[str, str],
        keys: StepKeys,
        job_exec: Callable[[Any], str],
    ) -> None:
        self._workspace = workspace
        self._parameters = parameters
        self._keys = keys
        self._job_exec = job_exec
        self._data: set[str] | None = None

    def step(self, job: Any) -> dict[str, Any]:
        """Raises: WorkflowError, Outside, Refused for a job that cannot be a task."""
        if hasattr(job.resources, "tmpdir"):
            job.resources.tmpdir = "/tmp"  # noqa: S108 - each task has its own
        command, texts, named = self._command(job)
        inputs = {path: self._input(path) for path in self._input_paths(job)}
        sources = {path: self._input(path) for path in self._source_paths(job)}
        made = [*job.output, *job.log]
        executor = {
            "image": self._image(job),
            "command": self._framed(job, command),
            "workdir": str(Path.cwd()),
            "env": {f"{name}_THREADS": str(job.threads) for name in _THREADS},
        }
        does = [
            executor["image"],
            executor["command"],
            executor["workdir"],
            sorted(texts.items()),
            sorted((path, self._identity(path)) for path in inputs),
            sorted(
                (path, self._identity(path))
                for path in sources
                if path in named or self._workspace.relative(path) in command
            ),
        ]
        wildcards = dict(job.wildcards_dict or {})
        attempts = [[job.rule.name, wildcards, job.attempt + later] for later in range(_LATER_ATTEMPTS + 1)]
        contents = [{"path": absolute(path), "content": text, "type": "FILE"} for path, text in texts.items()]
        document = {
            "name": _name(job),
            "inputs": [*contents, *({**sources, **inputs}[path] for path in sorted({**sources, **inputs}))],
            "outputs": [self._output(one) for one in made],
            "volumes": [self._workspace.root],
            "executors": [executor],
            "resources": _resources(job),
        }
        return {
            "key": self._keys.key(attempts[0], does),
            "name": _name(job),
            "document": document,
            "success_codes": [0],
            "later_keys": [self._keys.fresh(attempt, does) for attempt in attempts[1:]],
        }

    def _command(self, job: Any) -> tuple[str, dict[str, str], set[str]]:
        """The command, the texts that go along, and the attachments that it is made of."""
        if job.is_shell:
            return job.shellcmd, {}, set()
        if job.is_script:
            found = script_command(job)
            return found.command, found.texts, {absolute(found.script)}
        return self._job_exec(job), {}, set(self._snakefiles(job))

    def _framed(self, job: Any, command: str) -> list[str]:
        """The words of the executor's command."""
        made = [str(one) for one in job.output]
        folders = {str(Path(one).parent) for one in (*job.output, *job.log)} - {"."}
        logs = [f": >> {shlex.quote(str(one))}" for one in job.log]
        touched = [f"touch -- {shlex.quote(str(one))}" for one in job.touch_output]
        frame = _FRAME.format(
            prepare="\n".join([*([f"mkdir -p -- {shlex.join(sorted(folders))}"] if folders else []), *logs]),
            check="\n".join([*touched, *([_CHECK.format(made=shlex.join(made))] if made else [])]),
            shell=shlex.quote(str(job.resources.get("shell_exec") or shell.get_executable() or "")),
            strict=_STRICT,
        )
        prefix = shell._process_prefix if job.is_shell else None
        suffix = shell._process_suffix if job.is_shell else ""
        words = [_STRICT if prefix is None else prefix, f"{command}{suffix}"]
        return ["sh", "-c", frame, job.rule.name, *words]

    def _image(self, job: Any) -> str:
        if job.is_run:
            return self._parameters["snakemake_image"]
        return image_of(job.container_img_url or "") or self._parameters["default_image"]

    def _input_paths(self, job: Any) -> Iterator[str]:
        """Each file, or directory that lies in one piece, once."""
        taken: list[str] = []
        for path in sorted({absolute(one) for one in job.input}):
            parts = [path]
            if Path(path).is_dir() and self._workspace.folder(path) is None:
                parts = self._workspace.files_below(path)
            for one in parts:
                if not any(one == above or one.startswith(f"{above}/") for above in taken):
                    taken.append(one)
                    yield one

    def _source_paths(self, job: Any) -> Iterator[str]:
        """What came with the request, and is neither data of any job nor the workflow itself."""
        if self._data is None:
            self._data = {absolute(one) for other in job.dag.jobs for one in other.input}
        without = self._data | {absolute(one) for one in (*job.output, *job.log)}
        if not job.is_run:
            without |= set(self._snakefiles(job))
        return (path for path in self._workspace.attachments() if path not in without)

    def _snakefiles(self, job: Any) -> Iterator[str]:
        return (absolute(one.get_path_or_uri(secret_free=True)) for one in job.dag.workflow.included)

    def _input(self, path: str) -> dict[str, Any]:
        place = self._place(path)
        kind = "DIRECTORY" if self._workspace.folder(path) else "FILE"
        return {"path": path, "url": place.url, "type": kind}

    def _place(self, path: str) -> Place:
        place = self._workspace.folder(path) or self._workspace.place(path)
        if place is None:
            raise FileNotFoundError(
                2,
                "no job has made it, and it did not come with the request, so that no task can get it",
                path,
            )
        return place

    def _identity(self, path: str) -> str:
        return self._workspace.identity(self._place(path))

    def _output(self, path: Any) -> dict[str, Any]:
        if set(path) & set("*?["):
            raise ValueError(f"{path}: names of outputs must be without * ? [, which mean many files in TES")
        url = self._workspace.result_url(path)
        if path.is_directory:
            return {"path": absolute(path), "url": f"{url}/", "type": "DIRECTORY"}
        return {"path": absolute(path), "url": url, "type": "FILE"}


def _name(job: Any) -> str:
    """The rule, and the wildcards if it has some."""
    told = ", ".join(f"{name}={value}" for name, value in (job.wildcards_dict or {}).items())
    return f"{job.rule.name} ({told})" if told else str(job.rule.name)


def _resources(job: Any) -> dict[str, Any]:
    """What the rule asks for; of memory and disk nothing where it does not."""
    given = {
        name: value for name, value in job.resources.items() if isinstance(value, int | float) and value > 0
    }
    parameters: dict[str, str] = {}
    found: dict[str, Any] = {"cpu_cores": max(1, math.ceil(job.threads))}
    if "mem_mb" in given:
        found["ram_gb"] = given["mem_mb"] / 1000
    if "disk_mb" in given:
        found["disk_gb"] = given["disk_mb"] / 1000
    if "runtime" in given:
        parameters["running_s"] = str(int(given["runtime"] * 60))
    if checksums := asked_of(job.output):
        parameters["checksums"] = checksums
    return {**found, **({"backend_parameters": parameters} if parameters else {})}
