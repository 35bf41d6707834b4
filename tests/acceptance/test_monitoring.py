"""Metrics, traces and logs of a server as it is run: one trace through all of it, also across a restart."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.served import served
from tests.services.otlp_receiver import OtlpReceiver, otlp_receiver
from tests.services.tesp import FINAL, poll

pytestmark = pytest.mark.services

TES = "/ga4gh/tes/v1"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "Bearer open-sesame"


@pytest.fixture
def collector() -> Iterator[OtlpReceiver]:
    with otlp_receiver() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, collector: OtlpReceiver) -> Path:
    (tmp_path / "settings.toml").write_text(
        '[default]\nlog_format = "json"\nlog_level = "debug"\n'
        f'[default.tracing]\nurl = "{collector.url}"\nheaders = {{ Authorization = "{SECRET}" }}\n'
        "[default.destinations.local]\nruntimes = []\nallow_bubblewrap = true\n"
    )
    return tmp_path


def create(url: str, script: str, **headers: str) -> str:
    task = {"name": "traced", "executors": [{"image": "busybox", "command": ["sh", "-c", script]}]}
    task["inputs"] = [{"path": "/in", "content": "abc"}]
    answer = httpx.post(f"{url}{TES}/tasks", json=task, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def state(url: str, task_id: str) -> str:
    return str(httpx.get(f"{url}{TES}/tasks/{task_id}", timeout=30).json()["state"])


def spans_of(collector: OtlpReceiver, trace_id: str) -> dict[str, dict[str, Any]]:
    """The spans of a task that has ended, by name, once its first one is there."""
    poll(lambda: collector.named("task", trace_id), timeout_s=120, why="no span of the task")
    return {one["name"]: one for one in list(collector.spans) if one["trace_id"] == trace_id}


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "server.log").read_text().splitlines()]


def test_one_trace_from_the_client_to_the_end(folder: Path, collector: OtlpReceiver) -> None:
    with served(folder) as url:
        headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "X-Request-ID": "request-7"}
        task_id = create(url, "cat /in", **headers)
        poll(lambda: state(url, task_id) in FINAL, timeout_s=60, why="it does not end")
        spans = spans_of(collector, TRACE)
        page = httpx.get(f"{url}/metrics", timeout=30).text
    names = ("create a task", "task", "queued", "attempt 1", "launch", "initializing", "executor 0")
    assert {*names, "uploading"} <= spans.keys()
    request, task, attempt = spans["create a task"], spans["task"], spans["attempt 1"]
    assert (request["parent_id"], request["is_server"]) == (SPAN, True)
    assert task["parent_id"] == request["span_id"]
    assert spans["queued"]["parent_id"] == attempt["parent_id"] == task["span_id"]
    for name in ("launch", "initializing", "executor 0", "uploading"):
        assert spans[name]["parent_id"] == attempt["span_id"]
        assert attempt["began_ns"] <= spans[name]["began_ns"] <= spans[name]["ended_ns"] <= task["ended_ns"]
    assert spans["initializing"]["ended_ns"] <= spans["executor 0"]["ended_ns"]
    assert task["attributes"]["tesp.task.id"] == task_id and not task["is_error"]
    assert {one["service"] for one in spans.values()} == {"tesp"}
    assert {headers["authorization"] for headers in collector.headers} == {SECRET}
    assert 'tesp_tasks_ended_total{destination="local",state="COMPLETE"} 1.0' in page
    assert re.search(r'tesp_pulsar_call_seconds_count\{destination="local",operation="launch"} 1\.0', page)
    assert (
        'tesp_transferred_bytes_total{destination="local",direction="input",protocol="content"} 3.0' in page
    )
    assert_logs(folder)


def assert_logs(folder: Path) -> None:
    lines = lines_of(folder)
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert "open-sesame" not in (folder / "server.log").read_text()


def test_a_restart_stays_in_the_trace_of_the_task(folder: Path, collector: OtlpReceiver) -> None:
    with served(folder) as url:
        task_id = create(url, "while [ ! -e /in.go ] && [ $((i+=1)) -lt 40 ]; do sleep 0.1; done; exit 3")
        poll(lambda: state(url, task_id) == "RUNNING", timeout_s=60, why="it does not run")
    trace_id = task_id.replace("-", "")
    assert [one["name"] for one in collector.spans if one["trace_id"] == trace_id] == ["create a task"]
    with served(folder) as url:
        poll(lambda: state(url, task_id) in FINAL, timeout_s=60, why="it does not end")
        spans = spans_of(collector, trace_id)
    assert spans["task"]["parent_id"] == spans["create a task"]["span_id"]
    assert spans["initializing"]["parent_id"] == spans["attempt 1"]["span_id"]
    assert (spans["executor 0"]["is_error"], spans["executor 0"]["error"]) == (True, "exit code 3")
    assert spans["task"]["is_error"] and spans["task"]["attributes"]["tesp.task.state"] == "EXECUTOR_ERROR"


def test_lines_of_the_log_name_what_they_are_about(folder: Path) -> None:
    settings = (folder / "settings.toml").read_text()
    (folder / "settings.toml").write_text(
        f'{settings}[default.destinations.far]\nkind = "rest"\nurl = "http://127.0.0.1:1"\n'
    )
    with served(folder) as url:
        task = {"executors": [{"image": "busybox", "command": ["true"]}]}
        task["resources"] = {"backend_parameters": {"destination": "far"}}  # type: ignore[assignment]
        headers = {"X-Request-ID": "request-8"}
        answer = httpx.post(f"{url}{TES}/tasks", json=task, headers=headers, timeout=30)
        task_id = answer.json()["id"]

        def said() -> list[dict[str, Any]]:
            return [line for line in lines_of(folder) if task_id in line["message"]]

        [line, *_] = poll(said, timeout_s=120, why="nothing is said of the task")
    assert (line["task_id"], line["trace_id"]) == (task_id, task_id.replace("-", ""))
    assert "request_id" not in line
