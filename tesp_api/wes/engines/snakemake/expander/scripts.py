"""Rules with `script:` as commands that any image with the script's language can run, without Snakemake."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.script import BashScript, RScript, get_source

FOLDER = ".snakemake/scripts"
_RUNNER = Path(__file__).with_name("run_script.py")
_PLAIN = (str, int, float, bool, type(None))
_LANGUAGES = {"python": ".py", "r": ".R", "bash": ".sh"}


@dataclass(frozen=True)
class ScriptCommand:
    """What is to be run, and the files that are made for it, by their paths."""

    command: str
    texts: dict[str, str]
    script: str
    """The script itself, which is an attachment."""


def script_command(job: Any) -> ScriptCommand:
    """The command for a job with a script. Raises: WorkflowError for one that cannot be run so."""
    path, source, language, is_local, _ = get_source(
        job.rule.script, job.dag.workflow.sourcecache, job.rule.basedir, job.wildcards, job.params
    )
    if not is_local:
        raise WorkflowError("its script must come with the workflow", rule=job.rule)
    script = path.get_path_or_uri(secret_free=True)
    if language == "python":
        told = f"{FOLDER}/{job.rule.name}.json"
        runner = f"{FOLDER}/{_RUNNER.name}"
        texts = {told: _as_json(job, str(Path(script).parent)), runner: _RUNNER.read_text(encoding="utf-8")}
        words = ["python3", runner, os.path.relpath(script), told]
        return ScriptCommand(shlex.join(words), texts, script)
    name = f"{FOLDER}/{job.rule.name}-{path.get_filename()}"
    if language == "r":
        text = RScript.generate_preamble(**_parts(job, path, source)) + source
        return ScriptCommand(f"Rscript --vanilla {shlex.quote(name)}", {name: text}, script)
    if language == "bash":
        maker = BashScript.__new__(BashScript)
        maker.source = source
        preamble = BashScript.generate_preamble(**_parts(job, path, source), is_local=True)
        text = maker.combine_preamble_and_source(preamble)
        return ScriptCommand(f"bash {shlex.quote(name)}", {name: text}, script)
    known = ", ".join(_LANGUAGES.values())
    raise WorkflowError(f"its script is none of {known}: others cannot be run", rule=job.rule)


def _parts(job: Any, path: Any, source: str) -> dict[str, Any]:
    """What Snakemake's own makers of preambles want."""
    return {
        "path": path,
        "source": source,
        "basedir": job.rule.basedir,
        "input_": job.input,
        "output": job.output,
        "params": job.params,
        "wildcards": job.wildcards,
        "threads": job.threads,
        "resources": job.resources,
        "log": job.log,
        "config": job.rule.workflow.globals["config"],
        "rulename": job.rule.name,
        "bench_iteration": None,
        "cleanup_scripts": True,
        **dict.fromkeys(
            ("conda_env", "container_img", "singularity_args", "env_modules", "bench_record", "jobid")
        ),
        "shadow_dir": None,
    }


def _as_json(job: Any, scriptdir: str) -> str:
    lists = {
        name: {
            "items": [_plain(item, name, job) for item in getattr(job, name)],
            "names": dict(getattr(job, name)._get_names()),
        }
        for name in ("input", "output", "params", "wildcards", "resources", "log")
    }
    told = {
        **lists,
        "threads": job.threads,
        "config": _plain(job.rule.workflow.globals["config"], "config", job),
        "rule": job.rule.name,
        "bench_iteration": None,
        "scriptdir": scriptdir,
    }
    return json.dumps(told)


def _plain(value: Any, name: str, job: Any) -> Any:
    """The value as JSON has it. Raises: WorkflowError for what JSON has not."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str | os.PathLike):
        return str(os.fspath(value))
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item, name, job) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        value = sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(item, name, job) for item in value]
    raise WorkflowError(
        f"{name} holds a {type(value).__name__}: scripts can be given texts, numbers, lists, dictionaries",
        rule=job.rule,
    )
