"""The whole of an expansion: have Snakemake run the workflow, say what came of it."""

from __future__ import annotations

import logging
import os
import shlex
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from .opening import opening

opening.install()
os.environ["USER"] = "snakemake"  # the user of this process has no name
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each of its threads would take memory at once
logging.disable(logging.WARNING)  # that there is no bash here is no news
from snakemake.api import SnakemakeApi  # noqa: E402
from snakemake.exceptions import format_exception_to_string  # noqa: E402
from snakemake.resources import Resources  # noqa: E402
from snakemake.scheduling.greedy import SchedulerSettings  # noqa: E402
from snakemake.settings.enums import RerunTrigger  # noqa: E402
from snakemake.settings.types import (  # noqa: E402
    ConfigSettings,
    DAGSettings,
    ExecutionSettings,
    OutputSettings,
    ResourceSettings,
    SchedulingSettings,
)
from snakemake.shell import shell  # noqa: E402
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry  # noqa: E402

from ...inside.channel import Channel, Refused  # noqa: E402
from . import WORKDIR, checksums  # noqa: E402
from .executor import NAME, Expansion, executor_for  # noqa: E402
from .inputs import Unusable, config_of  # noqa: E402
from .keys import StepKeys  # noqa: E402
from .outputs import outputs_of  # noqa: E402
from .streams import Streams  # noqa: E402
from .workspace import Workspace  # noqa: E402

logging.disable(logging.NOTSET)


def main(channel: int) -> None:
    """Expand what the server sends over this descriptor, and tell it how that ended."""
    server = Channel(socket.socket(fileno=channel))
    streams = Streams(server)
    os.chdir(WORKDIR)
    sys.argv = ["snakemake"]  # which Snakemake logs
    try:
        outcome = Run(server).execute()
    except (Refused, Unusable) as error:
        outcome = _outcome("permanentFail", str(error))
    except BaseException as error:  # also a Snakefile's sys.exit()
        traceback.print_exc()
        outcome = _outcome("broken", f"Snakemake failed: {type(error).__name__}: {error}")
    streams.close()
    server.end(outcome)


def _outcome(status: str, reason: str, outputs: Any = None) -> dict[str, Any]:
    return {"status": status, "reason": reason, "outputs": outputs or {}}


class Run:
    """One run: `server.order` says which."""

    def __init__(self, server: Channel) -> None:
        self._order = server.order
        self._server = server
        self._parameters: dict[str, str] = server.order["parameters"]
        self._workspace = Workspace(server, server.order["work_url"], WORKDIR)
        keys = StepKeys(server.order["known_keys"])
        self._expansion = Expansion(server, self._workspace, self._parameters, keys)

    def execute(self) -> dict[str, Any]:
        """How the run has ended. Raises: Refused, Unusable."""
        self._workspace.load_attachments()
        opening.fetch = self._workspace.fetch
        checksums.install(self._workspace)
        config = config_of(self._order["params"], self._workspace)
        snakefile = self._snakefile()
        ExecutorPluginRegistry().register_plugin(NAME, executor_for(self._expansion))
        shell.executable = classmethod(_set_shell)
        output = OutputSettings(nocolor=True, printshellcmds=True, enable_file_logging=False)
        with SnakemakeApi(output) as api:
            try:
                workflow = self._run(api, snakefile, config)
            except (Exception, SystemExit) as error:
                return self._failed(error, api)
            return _outcome("success", "", outputs_of(workflow.dag, self._workspace))

    def _run(self, api: SnakemakeApi, snakefile: Path, config: dict[str, Any]) -> Any:
        """The workflow, once all its jobs have ended well. Raises: whatever a Snakefile does."""
        words = {name: shlex.split(text) for name, text in self._parameters.items()}
        given = self._parameters
        workflow_api = api.workflow(
            resource_settings=ResourceSettings(
                nodes=int(given["jobs"]),
                max_threads=int(given["max_threads"]) if given["max_threads"] else None,
                default_resources=Resources.parse(
                    words["default_resources"], allow_expressions=True, defaults="bare"
                ),
            ),
            config_settings=ConfigSettings(
                config=config, configfiles=[Path(one) for one in words["configfiles"]]
            ),
            snakefile=snakefile,  # and no workdir, which would rule one of the Snakefile's out
        )
        workflow = workflow_api._workflow
        _make_every_job_a_task(workflow)
        dag = workflow_api.dag(
            DAGSettings(
                targets=set(words["targets"]),
                until=set(words["until"]),
                omit_from=set(words["omit_from"]),
                rerun_triggers=frozenset({RerunTrigger.MTIME}),
                max_checksum_file_size=0,
            )
        )
        dag.execute_workflow(
            executor=NAME,
            execution_settings=ExecutionSettings(
                latency_wait=0,
                keep_going=given["keep_going"] == "true",
                lock=False,
                ignore_incomplete=True,
                retries=int(given["retries"]),
                use_threads=True,
            ),
            scheduling_settings=SchedulingSettings(scheduler="greedy"),
            scheduler_settings=SchedulerSettings(),
        )
        return workflow

    def _failed(self, error: BaseException, api: SnakemakeApi) -> dict[str, Any]:
        expansion = self._expansion
        if expansion.failures:
            status = "systemFail" if expansion.has_system_failure else "permanentFail"
            return _outcome(status, "\n".join(expansion.failures[:20]))
        loaded = api._workflow_api._workflow_store if api._workflow_api else None
        try:
            reason = format_exception_to_string(error, loaded.linemaps if loaded else None)
        except Exception:  # it does not find its way in all files that cannot be parsed
            reason = "".join(traceback.format_exception_only(error))
        print(reason, file=sys.stderr)
        return _outcome("permanentFail", reason.strip())

    def _snakefile(self) -> Path:
        """Where the workflow is, which is fetched if it is a URL. Raises: Unusable."""
        url = self._order["workflow_url"].partition("#")[0]
        if "://" not in url:
            return Path(WORKDIR, url)
        try:
            path = Path(WORKDIR, url.rstrip("/").rpartition("/")[2] or "Snakefile")
            self._workspace.load_from(url, str(path))
            self._workspace.fetch(str(path))
        except OSError as error:
            raise Unusable(f"{url}: {error.strerror}") from error
        return path


def _make_every_job_a_task(workflow: Any) -> None:
    """Here is nothing to run them with; and jobs of a group would have to share a task."""
    workflow._localrules.clear()
    for rule in workflow.rules:
        rule.group = None


def _set_shell(cls: Any, command: Any) -> None:
    """Note which shell a Snakefile wants, without looking for it here."""
    cls._process_args["executable"] = str(command) if command else None
