"""kill -9 of the server while more than twenty tasks are in every phase: each ends COMPLETE and ran once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.servers import KINDS, environment_of
from tests.services.gated_http import GatedHttp
from tests.services.tesp import TespServer, poll

pytestmark = [pytest.mark.sampled(2), pytest.mark.services]

STEPS = (
    "update",  # the attempt and the job's id are stored
    "launch",  # the job is set up, filled and submitted
    "transition:INITIALIZING",
    "transition:RUNNING",
    "append_log",
    "transition:COMPLETE",
    "clean",
    "retire",
)
STALLS = [
    *(f"{when}:{step}" for step in STEPS for when in ("before", "after")),
    "within:launch:setup",  # the job is set up, nothing is there yet
    "within:launch:submit",  # worker and task.json are there, the job is not submitted
]
AT_THE_SITE = ("staging_in", "executing", "staging_out")
OVER = {f"{when}:{step}" for when in ("before", "after") for step in ("clean", "retire")}
"""Their tasks have ended, and their places are free again."""
PHASES = [*STALLS, *AT_THE_SITE, "queued"]  # "queued" comes last: the others hold every slot by then


@pytest.fixture(params=KINDS)
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server of each kind, with a shared folder for tasks to leave their mark in."""
    (tmp_path / "shared").mkdir(mode=0o777)
    with environment_of(request.param, roots={tmp_path / "shared": "rw"}) as settings:
        yield settings | {"TESP_API_DESTINATIONS__LOCAL__MAX_RUNNING": str(len(PHASES) - 1 - len(OVER))}


def _task(phase: str, web: GatedHttp, shared: Path) -> dict[str, Any]:
    """A task that adds a line to a file of its own, shared with us, and writes an output."""
    script = f'echo ran >> "/shared/{phase}"; cat /in/data > /out/data; echo {phase}'
    if phase == "executing":
        script += "; while [ ! -e /shared/go_on ]; do sleep 0.1; done"
    return {
        "name": phase,
        "tags": {"stall": phase},
        "inputs": [
            {"url": f"file://{shared}", "path": "/shared", "type": "DIRECTORY"},
            {"url": f"{web.url}/{phase}/in", "path": "/in/data"},
        ],
        "outputs": [{"url": f"{web.url}/{phase}/out", "path": "/out/data"}],
        "executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}],
    }


def test_every_phase_survives_kill_9(environment: dict[str, str], tmp_path: Path) -> None:
    shared, stalled = tmp_path / "shared", tmp_path / "stalled"
    stalled.mkdir()
    data = tmp_path / "data"
    with GatedHttp() as web:
        web.files = {f"/{phase}/in": phase.encode() for phase in PHASES}
        web.held = {"/staging_in/in", "/staging_out/out"}
        with TespServer(
            environment | {"STALLED_DIR": str(stalled)}, data=data, app="tests.acceptance.stalling_app:app"
        ) as first:
            ids = {phase: first.create(_task(phase, web, shared)) for phase in PHASES}
            for phase in STALLS:
                poll((stalled / phase).exists, timeout_s=60, why=f"no task stops {phase}\n{first.log}")
            poll(lambda: web.waiting == web.held, timeout_s=30, why="no task is staging")
            poll((shared / "executing").exists, timeout_s=30, why="no task is executing")
            assert first.get(ids["queued"])["state"] == "QUEUED"
            first.kill()
        (shared / "go_on").touch()
        web.open_gate()
        with TespServer(environment, data=data) as second:
            tasks = {phase: second.wait(task_id) for phase, task_id in ids.items()}
    assert {phase: task["state"] for phase, task in tasks.items()} == dict.fromkeys(PHASES, "COMPLETE")
    for phase, task in tasks.items():
        assert (shared / phase).read_text() == "ran\n", f"{phase}: not run exactly once"
        assert web.files[f"/{phase}/out"] == phase.encode()
        outputs = [[executor["stdout"] for executor in log["logs"]] for log in task["logs"]]
        assert outputs == [[f"{phase}\n"]], f"{phase}: {task['logs']}"
        assert [output["size_bytes"] for output in task["logs"][0]["outputs"]] == [str(len(phase))]
