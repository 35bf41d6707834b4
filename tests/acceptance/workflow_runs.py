"""Workflow runs on a real server, over HTTP, of the scripted engine or of any other."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import psutil  # type: ignore[import-untyped]

from tests.services.tesp import FINAL, ONLY_BUBBLEWRAP, TespServer, poll

WES, TESP = "/ga4gh/wes/v1", "/tesp/v1"
SCRIPTED = "tests.acceptance.scripted_app:app"


def scripted_server(environment: Mapping[str, str] | None = None, **more: Any) -> TespServer:
    """A server that runs scripts, in bubblewrap."""
    return TespServer({**ONLY_BUBBLEWRAP, **(environment or {})}, app=SCRIPTED, **more)


def step(name: str, script: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "command": ["sh", "-c", script], **more}


def submit(
    server: TespServer,
    steps: Sequence[Mapping[str, Any]],
    outputs: Mapping[str, str] | None = None,
    *,
    attached: Mapping[str, bytes] | None = None,
    params: Mapping[str, Any] | None = None,
    parameters: Mapping[str, str] | None = None,
) -> str:
    """Start a run of the script; returns its id."""
    script = json.dumps({"steps": list(steps), "outputs": dict(outputs or {})}).encode()
    fields = {
        "workflow_type": "script",
        "workflow_type_version": "v1",
        "workflow_url": "w.json",
        "workflow_params": json.dumps(dict(params or {})),
        "workflow_engine_parameters": json.dumps(dict(parameters or {})),
    }
    files = [("workflow_attachment", file) for file in ({"w.json": script} | dict(attached or {})).items()]
    answer = server.client.post(f"{WES}/runs", data=fields, files=files)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["run_id"])


def get(server: TespServer, run_id: str) -> dict[str, Any]:
    """The RunLog."""
    answer = server.client.get(f"{WES}/runs/{run_id}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def state(server: TespServer, run_id: str) -> str:
    return str(server.client.get(f"{WES}/runs/{run_id}/status").json()["state"])


def wait(server: TespServer, run_id: str, *, timeout_s: float = 90) -> dict[str, Any]:
    """The RunLog, once the run has ended."""
    poll(
        lambda: state(server, run_id) in FINAL,
        timeout_s=timeout_s,
        why=f"run {run_id} does not end; server log:\n{server.log[-3000:]}",
    )
    return get(server, run_id)


def steps(server: TespServer, run_id: str) -> list[dict[str, Any]]:
    """The run's steps at a glance."""
    return list(server.client.get(f"{TESP}/runs/{run_id}/steps").json()["steps"])


def expanders(server: TespServer, engine: str) -> list[psutil.Process]:
    """The processes in which an engine expands runs, as far as they have not ended meanwhile."""
    assert server.process is not None
    found = []
    for one in psutil.Process(server.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if f"engines.{engine}.expander.main" in one.cmdline():
                found.append(one)
    return found


def cancel_within_5_s(server: TespServer, run_id: str, engine: str) -> None:
    """Cancel the run; fails unless its expander and all its tasks have ended 5 seconds after the answer.

    The server must keep no process ready, which would look like the run's.
    """
    assert expanders(server, engine)
    assert server.client.post(f"{WES}/runs/{run_id}/cancel").status_code == 200

    def is_over() -> bool:
        states = {one["state"] for one in tasks(server, run_id)}
        return not expanders(server, engine) and states == {"CANCELED"}

    poll(is_over, timeout_s=5, why="the engine, or a task, goes on")
    poll(lambda: state(server, run_id) == "CANCELED", timeout_s=30, why="the run does not end")


def tasks(server: TespServer, run_id: str) -> list[dict[str, Any]]:
    """The run's tasks, as TES finds them by their tag."""
    query = {"tag_key": "wes.run_id", "tag_value": run_id, "view": "FULL", "page_size": "2000"}
    return list(server.client.get("/ga4gh/tes/v1/tasks", params=query).json()["tasks"])
