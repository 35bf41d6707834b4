"""How the embedded Pulsar starts the process of a job."""

import logging
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

log = logging.getLogger(__name__)

Fork = Callable[[str, str, Mapping[str, str], int, int], Any]
"""Takes a job's id, working directory, environment, stdout and stderr; gives None for what is no worker."""


def launch_quickly(manager: Any, env: Mapping[str, str], fork: Fork) -> None:
    """Have an `unqueued` manager of Pulsar start its jobs at once; each gets `env` besides Pulsar's own.

    `fork` may do it, and raises OSError if it cannot.

    Pulsar writes a script of 150 lines, for Galaxy's tools, that starts a dozen processes before the job; the
    worker needs none of what it makes. And Pulsar gives `Popen` a function to call in the child, which takes
    a real fork: for each job the page tables of a server of some 150 MB are copied, with the interpreter
    held, and its memory is copied page by page while both live. A process group of its own, which is all that
    the function makes, takes a vfork.
    """

    def no_script(job_id: str, command_line: str, **_: Any) -> str:
        return command_line

    def start(job_id: str, command_line: str) -> tuple[Any, Any, Any]:
        from pulsar.managers.unqueued import new_clean_env

        stdout = manager._open_job_standard_output(job_id)
        stderr = manager._open_job_standard_error(job_id)
        cwd = manager.job_directory(job_id).working_directory()
        whole_env = {**new_clean_env(), **env}
        try:
            forked = fork(job_id, cwd, whole_env, stdout.fileno(), stderr.fileno())
        except OSError as exc:
            log.warning("no worker could be forked for job %s, so it is started: %s", job_id, exc)
            forked = None
        process = forked or subprocess.Popen(
            ["/bin/sh", "-c", command_line],
            cwd=cwd,
            stdout=stdout,
            stderr=stderr,
            process_group=0,
            env=whole_env,
        )
        return process, stdout, stderr

    manager._setup_job_file = no_script
    manager._proc_for_job_id = start
