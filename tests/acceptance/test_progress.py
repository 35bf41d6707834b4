"""How far a transfer is: in the task's events, and as bars of `tesp task wait` on a terminal."""

import contextlib
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.servers import environment_of
from tests.services.gated_http import GatedHttp
from tests.services.tesp import TespServer, poll

pytestmark = [pytest.mark.sampled(1), pytest.mark.services]

CONTENT = os.urandom(24_000_000)
TESP = Path(sys.executable).parent / "tesp"
STYLE = re.compile(r"\x1b\[[0-9;]*m")
MOVE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@pytest.fixture
def web() -> Iterator[GatedHttp]:
    with GatedHttp() as web:
        web.files["/big.bin"] = CONTENT
        web.trickled.add("/big.bin")
        yield web


GATEWAY = {"TESP_API_DESTINATIONS__LOCAL__STAGING": "gateway"}


@pytest.fixture(scope="module", params=["embedded-bubblewrap", "rest", "gateway"])
def server(request: pytest.FixtureRequest) -> Iterator[TespServer]:
    """Workers that move files themselves, here and at a site, and a server that does it for them."""
    kind = "embedded-bubblewrap" if request.param == "gateway" else request.param
    more = GATEWAY if request.param == "gateway" else {}
    with environment_of(kind) as settings, TespServer(settings | more) as server:
        yield server


def _task(web: GatedHttp) -> dict[str, Any]:
    return {
        "inputs": [{"url": f"{web.url}/big.bin", "path": "/data/big.bin"}],
        "outputs": [{"url": f"{web.url}/out/big.bin", "path": "/data/big.bin"}],
        "executors": [{"image": "busybox:latest", "command": ["true"]}],
    }


def _events(server: TespServer, task_id: str, after: int = -1) -> dict[str, Any]:
    answer = server.client.get(f"/tesp/v1/tasks/{task_id}/events", params={"after": after})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def _progress(server: TespServer, task_id: str) -> list[dict[str, Any]]:
    return [event for event in _events(server, task_id)["events"] if event["event"] == "transfer"]


def test_a_slow_input_is_seen_to_grow(server: TespServer, web: GatedHttp) -> None:
    task_id = server.create(_task(web))
    poll(lambda: len(_progress(server, task_id)) >= 2, timeout_s=30, why="no progress is told")
    state = "QUEUED" if GATEWAY.items() <= server.environment.items() else "INITIALIZING"
    assert server.get(task_id, "MINIMAL")["state"] == state
    assert _events(server, task_id)["live"]
    web.open_gate()
    task = server.wait(task_id)
    assert task["state"] == "COMPLETE", task
    told = _progress(server, task_id)
    assert all((event["url"], event["path"]) == (f"{web.url}/big.bin", "/data/big.bin") for event in told)
    assert {event["total_bytes"] for event in told} == {len(CONTENT)}
    done = [event["done_bytes"] for event in told]
    assert 0 < done[0] < done[1] < done[-1] == len(CONTENT)
    assert [event["ended"] for event in told] == [False] * (len(told) - 1) + [True]

    everything = _events(server, task_id)
    assert not everything["live"]
    assert [event["seq"] for event in everything["events"]] == list(range(len(everything["events"])))
    names = [
        event["event"] for event in everything["events"] if event["event"] not in ("transfer", "message")
    ]
    assert names == ["initializing", "executor_started", "executor_ended", "staging_out", "ended"]
    last = everything["events"][-1]["seq"]
    assert _events(server, task_id, last - 1)["events"] == everything["events"][-1:]


class Terminal:
    """The standard error of a command, as it would be on a screen."""

    def __init__(self, *command: str) -> None:
        leading, following = pty.openpty()
        self._text = b""
        self.process = subprocess.Popen(
            [TESP, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=following,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"},
        )
        os.close(following)
        self._leading = leading
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
            while data := os.read(self._leading, 65536):
                self._text += data

    @property
    def text(self) -> str:
        return MOVE.sub("\n", STYLE.sub("", self._text.decode(errors="replace")))

    def wait(self) -> int:
        code = self.process.wait(60)
        self._reader.join(10)
        os.close(self._leading)
        return code


def test_a_terminal_shows_bars_and_a_file_does_not(server: TespServer, web: GatedHttp) -> None:
    task_id = server.create(_task(web))
    wait = ("task", "wait", task_id, "--url", server.url)
    shown = Terminal(*wait)
    as_json = Terminal(*wait, "--json")
    plain = subprocess.Popen([TESP, *wait], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    drawn = re.compile(r"← big\.bin .*\d/24\.0 MB .*MB/s")
    poll(lambda: drawn.search(shown.text), timeout_s=40, why="no bar is drawn")
    web.open_gate()
    assert (shown.wait(), as_json.wait()) == (0, 0)
    output, errors = plain.communicate(timeout=60)
    assert output.split() == [task_id, "COMPLETE"]
    for text in (errors, as_json.text):
        lines = [line.split() for line in text.splitlines() if line.strip()]
        assert all(words[1:2] == [task_id] for words in lines), text
        assert lines[-1][2] == "COMPLETE"
    assert "big.bin" not in errors + as_json.text
