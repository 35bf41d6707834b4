"""What `tesp` says of limits, and how it waits where one is reached."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tesp_api.tes.states import State
from tests.factories import make_request
from tests.unit.cli.conftest import LiveApi, Tesp

TASK = json.dumps(make_request())


@pytest.fixture
def api(tmp_path: Path) -> Iterator[LiveApi]:
    rate = {"requests_per_s": 2, "requests_burst": 30}
    live = LiveApi(tmp_path / "data", all={"live_tasks": 1, **rate})
    yield live
    live.stop()


def test_the_limits_are_shown_with_the_use(tesp: Tesp) -> None:
    tesp("task", "create", "-", input=TASK)
    shown = tesp("limits")
    assert shown.exit_code == 0
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["tasks", "that", "have", "not", "ended", "no", "limit", "1", "1"] in lines
    assert ["requests", "in", "a", "second", "no", "limit", "2"] in lines
    found = json.loads(tesp("limits", "--json").stdout)
    assert found["all"]["limits"]["live_tasks"] == found["user"]["used"]["live_tasks"] == 1


def test_a_limit_that_is_reached_is_told_in_words(tesp: Tesp) -> None:
    tesp("task", "create", "-", input=TASK)
    refused = tesp("task", "create", "-", input=TASK)
    assert refused.exit_code == 1
    assert refused.stderr == (
        "tesp: limits.all.live_tasks is 1, 1 taken: wait until tasks have ended, or cancel some; "
        "try again in 10 s at the earliest (429)\n"
    )


def test_who_has_patience_waits_as_long_as_the_server_says(
    tesp: Tesp, api: LiveApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tesp_api.store.usage.ASK_AGAIN_S", 1.0)
    first = tesp("task", "create", "-", input=TASK).stdout.strip()
    ended = threading.Timer(
        0.3, lambda: api.advance(first, State.INITIALIZING, State.RUNNING, State.COMPLETE)
    )
    ended.start()
    began_at = time.monotonic()
    second = tesp("task", "create", "-", "--patience", "30", input=TASK)
    ended.join()
    assert second.exit_code == 0, second.output
    assert time.monotonic() - began_at >= 1


def test_what_only_looks_waits_by_itself(tesp: Tesp) -> None:
    task_id = tesp("task", "create", "-", input=TASK).stdout.strip()
    looks = [tesp("task", "get", task_id, "--view", "MINIMAL") for _ in range(33)]
    assert {look.exit_code for look in looks} == {0}
