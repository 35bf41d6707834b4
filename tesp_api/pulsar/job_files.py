"""The names that a job is made of, the same for every kind of Pulsar, and what may be one.

Everything here reaches a path or a command line somewhere, so nothing passes unchecked.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from tesp_api.errors import PulsarRefused

INPUTS = "inputs"
TOOL_FILES = "tool_files"
WORKER_FILE = "tesp-worker.pyz"
WORKER_TEXT_FILE = "tesp-worker.py"
TASK_FILE = "task.json"
TESP_FOLDER = "tesp"  # below `metadata`
STARTED_FILE = "started"
RESULT_FILE = "result.json"
HEARTBEAT_FILE = "heartbeat"
EVENTS_FILE = "events.ndjson"
NOT_SUBMITTED = "preprocessing_failed"
"""The mark in the job's directory with which Pulsar remembers that."""

JOB_ID = re.compile(r"[A-Za-z0-9-]{1,255}")
INPUT_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
PIECE_BYTES = 1024 * 1024  # of a file on its way: large, since each piece costs a change of threads

READ_MAX_BYTES = 256 * 1024 * 1024  # of a file that is read whole: more than any worker writes


def check_job_id(job_id: str) -> str:
    """Return the job id.

    Raises:
        PulsarRefused: it holds anything but letters, digits and hyphens.
    """
    if not JOB_ID.fullmatch(job_id):
        raise PulsarRefused(f"{job_id!r} cannot be a job id: only letters, digits and hyphens can")
    return job_id


def check_file_name(name: str) -> str:
    """Return the name of a file below `metadata/tesp/`.

    Raises:
        PulsarRefused: it is absolute, empty, or would leave the folder.
    """
    path = PurePosixPath(name)
    plain = name and not path.is_absolute() and ".." not in path.parts and "\0" not in name
    if not plain or str(path) != name or name == ".":
        raise PulsarRefused(f"{name!r} cannot be a file of a job: it has to be a plain relative path")
    return name


def check_input_name(name: str) -> str:
    """Return the name of a file in `inputs/`.

    Raises:
        PulsarRefused: it holds anything but letters, digits and hyphens.
    """
    if not INPUT_NAME.fullmatch(name):
        raise PulsarRefused(f"{name!r} cannot be an input of a job: only letters, digits and hyphens can")
    return name


def within_limit(name: str, data: bytes) -> bytes:
    """Return what was read of a job's file.

    Raises:
        PulsarRefused: it is more than READ_MAX_BYTES.
    """
    if len(data) > READ_MAX_BYTES:
        raise PulsarRefused(
            f"{name!r} of the job has more than {READ_MAX_BYTES} bytes: no worker writes that"
        )
    return data


def worker_command(python: str, file: str = WORKER_FILE) -> str:
    """The command line given to Pulsar, which runs it in the job's `working` directory.

    It is the same for every job: no user's string is in it. `exec` makes the worker the process
    that Pulsar knows; -I and -S keep the site's Python settings out and save start time.
    """
    return f"exec {shlex.quote(python)} -I -S ../{TOOL_FILES}/{file} .."


def last_words(exit_code: object, stderr: str) -> str:
    """How a job ended, for people: its exit code and the end of what it wrote to stderr."""
    said = " ".join(stderr.split())[-500:]
    return ("no exit code" if exit_code is None else f"exit code {exit_code}") + (f", {said}" if said else "")


def told(answer: Mapping[str, Any]) -> str:
    """What Pulsar's status of a job means, for people."""
    detail = f"Pulsar says {answer.get('status')}"
    if NOT_SUBMITTED in (answer.get("job_directory_contents") or ()):
        return f"{detail}: it could not submit the job, and its own log says why"
    if "returncode" in answer:
        detail += f": {last_words(answer['returncode'], str(answer.get('job_stderr') or ''))}"
    return detail
