"""The tasks of scenarios: what each does, how it may end, and what it must have left behind."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any

EXECUTORS = 2
LINES = 2000
FIRST_STDOUT = "".join(f"{number}\n" for number in range(1, LINES + 1))
SECOND_STDOUT = "done\n"
_JOB_ID = r"[0-9a-f]\{8\}-[0-9a-f-]\{27\}-[0-9]\{1,\}"


class Course(StrEnum):
    """What becomes of a task that no fault disturbs."""

    COMPLETES = "completes"
    CANCELED = "canceled"  # while its first executor runs, which would never end
    FAILS = "fails"  # its second executor ends with 3; it has one attempt
    RETRIED = "retried"  # the second executor of the first attempt ends with 4, that of the next well


ENDS = {
    Course.COMPLETES: "COMPLETE",
    Course.CANCELED: "CANCELED",
    Course.FAILS: "EXECUTOR_ERROR",
    Course.RETRIED: "COMPLETE",
}


@dataclass(frozen=True, slots=True)
class Tracked:
    """A task that was accepted, and what is known of it. `marker` is part of `data`, and of no other file.

    `ends` are the states in which it may end.
    """

    id: str
    name: str
    course: Course
    data: bytes
    marker: str
    ends: set[str]


@dataclass(frozen=True, slots=True)
class Draft:
    """A task before it is sent."""

    name: str
    course: Course
    data: bytes
    marker: str
    document: dict[str, Any]


def make_draft(
    name: str, course: Course, web: str, shared: Path, random: Random, *, waits: bool, **more: Any
) -> Draft:
    """A task of two executors that marks who ran, copies its input to its output, and prints some lines.

    `web` is the URL of its files; `waits`: its second executor waits for the file `NAME.go`.
    """
    marker = f"user-data-{random.randbytes(12).hex()}"
    data = f"{marker}\n".encode() + random.randbytes(20_000)
    resources = {"backend_parameters": {"max_attempts": "1"}} if course is Course.FAILS else {}
    document = {
        "name": name,
        "inputs": [
            {"url": f"file://{shared}", "path": "/shared", "type": "DIRECTORY"},
            {"url": f"{web}/{name}/in", "path": "/in/data"},
        ],
        "outputs": [{"url": f"{web}/{name}/out", "path": "/out/data"}],
        "executors": [
            {"image": "busybox:latest", "command": ["sh", "-c", script]}
            for script in _scripts(name, course, waits=waits)
        ],
        "resources": resources,
        **more,
    }
    return Draft(name, course, data, marker, json.loads(json.dumps(document)))


def runs_file(shared: Path, name: str) -> Path:
    """Where each executor of a task leaves a line `JOB EXECUTOR` as it begins."""
    return shared / f"{name}.runs"


def _scripts(name: str, course: Course, *, waits: bool) -> tuple[str, str]:
    # a task is not told its job's id; the directory that is mounted at /out has it in its path
    job = f"$(grep -o '{_JOB_ID}' /proc/self/mountinfo | head -n 1)"
    first = f'echo "{job} 0" >> /shared/{name}.runs; cat /in/data > /out/first || exit 7; seq 1 {LINES}'
    second = f'echo "{job} 1" >> /shared/{name}.runs; '
    if course is Course.CANCELED:
        first += "; while :; do sleep 0.05; done"
    if waits:
        second += f"while [ ! -e /shared/{name}.go ]; do sleep 0.05; done; "
    if course is Course.RETRIED:
        second += f"if [ ! -e /shared/{name}.again ]; then touch /shared/{name}.again; exit 4; fi; "
    second += "mv /out/first /out/data; echo done"
    return first, second + ("; exit 3" if course is Course.FAILS else "")
