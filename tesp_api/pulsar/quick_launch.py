"""How the embedded Pulsar starts the process of a job."""

import logging
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

log = logging.getLogger(__name__)

Fork = Callable[[str, Mapping[str, str], int, int], Any]
"""Takes a working directory, an environment, stdout and stderr; returns the shape of a `Popen`."""


def launch_quickly(
    manager: Any, job_id: str, command: str, env: Mapping[str, str], fork: Fork | None
) -> None:
    """Have an `unqueued` manager of Pulsar run a job whose directory is there; it gets `env` besides its own.

    `fork` may start it, and raises OSError if it cannot.

    Of Pulsar's own way three parts are left out. It writes a script of 150 lines, for Galaxy's tools, that
    starts a dozen processes before the job; it keeps a journal of the job in five more files, for its
    restart, after which we ask the operating system anyhow; and it gives `Popen` a function to call in the
    child, which takes a real fork: for each job the page tables of a server of some 150 MB are copied, with
    the interpreter held, and its memory is copied page by page while both live. A process group of its own,
    which is all that the function makes, takes a vfork.

    Raises:
        OSError: the operating system did not let it start.
    """
    from pulsar.managers.unqueued import new_clean_env

    cwd = manager.job_directory(job_id).working_directory()
    whole_env = {**new_clean_env(), **env}
    with ExitStack() as opened:
        stdout = opened.enter_context(manager._open_job_standard_output(job_id))
        stderr = opened.enter_context(manager._open_job_standard_error(job_id))
        process = None
        if fork is not None:
            try:
                process = fork(cwd, whole_env, stdout.fileno(), stderr.fileno())
            except OSError as exc:
                log.warning("no worker could be forked for job %s, so it is started: %s", job_id, exc)
        process = process or subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=cwd,
            stdout=stdout,
            stderr=stderr,
            process_group=0,
            env=whole_env,
        )
        opened.pop_all()  # Pulsar closes them at its end
    manager._record_pid(job_id, process.pid)
    manager._start_monitor(job_id, process, stdout, stderr)
