"""How the worker drives apptainer, against a stand-in: the real one cannot be installed everywhere."""

import sys
import time
from pathlib import Path

import pytest

from tests.integration.worker_job import WorkerJob, shell, wait_until

pytestmark = pytest.mark.services

STAND_IN = """#!{python}
import os, sys
arguments = sys.argv[1:]
if arguments == ["--version"]:
    print("apptainer version 1.3.0")
elif arguments[0] == "pull":
    if "missing" in arguments[-1]:
        sys.exit("FATAL:   While making image from oci registry: manifest unknown")
    open(arguments[-2], "w").close()
elif arguments[0] == "run":
    rest = arguments[1:]
    while rest[0].startswith("--"):
        rest = rest[2:] if rest[0] in ("--net", "--network", "--mount", "--pwd") else rest[1:]
        if rest[0] == "none":
            rest = rest[1:]
    assert os.path.exists(rest[0]), rest
    prefix = "APPTAINERENV_"
    env = {{name[len(prefix):]: value for name, value in os.environ.items() if name.startswith(prefix)}}
    try:
        os.execvpe(rest[1], rest[1:], {{"PATH": "/usr/bin:/bin", **env}})
    except FileNotFoundError:
        sys.stderr.write(f"FATAL:   stat {{rest[1]}}: no such file or directory")
        sys.exit(255)
"""


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def make(tmp_path: Path, **task: object) -> WorkerJob:
    return WorkerJob(tmp_path / f"job-{time.time_ns()}", "apptainer", **task)  # type: ignore[arg-type]


def test_a_task_runs_with_its_environment(tmp_path: Path) -> None:
    env = {"ODD": "a 'b' \"$c\"\nd", "LD_LIBRARY_PATH": "/none"}
    job = make(tmp_path, executors=[shell('printf %s "$ODD$LD_LIBRARY_PATH"; exit 3', env=env)])
    result = job.run()
    assert (result["state"], result["executors"][0]["exit_code"]) == ("EXECUTOR_ERROR", 3)
    assert job.log("0.stdout").decode() == env["ODD"] + "/none"
    assert result["metadata"]["runtime"] == "apptainer 1.3.0"


def test_a_missing_program_and_a_missing_image_are_told_apart(tmp_path: Path) -> None:
    result = make(tmp_path, executors=[{"image": "alpine", "command": ["no-such"]}]).run()
    assert (result["state"], result["executors"][0]["exit_code"]) == ("EXECUTOR_ERROR", 127)
    result = make(tmp_path, executors=[{"image": "missing:1", "command": ["true"]}]).run()
    assert result["state"] == "SYSTEM_ERROR" and "manifest unknown" in result["reason"]


def test_outputs_in_system_directories_are_refused_clearly(tmp_path: Path) -> None:
    outputs = [{"path": "/top.txt", "url": f"{tmp_path}/x"}]
    result = make(tmp_path, executors=[shell("true")], outputs=outputs).run()
    assert result["state"] == "SYSTEM_ERROR" and "/top.txt" in result["reason"]


@pytest.mark.parametrize("death", ["cancel", "kill"])
def test_cancel_and_death_end_the_processes(tmp_path: Path, death: str) -> None:
    job = make(tmp_path, executors=[shell("sleep 601.25 & echo $!; wait")])
    process = job.start()
    sleeper = int(wait_until(lambda: job.log("0.stdout")))
    if death == "kill":
        process.kill()
    else:
        job.cancel()
    process.communicate(timeout=5)
    wait_until(lambda: not is_running(sleeper))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
