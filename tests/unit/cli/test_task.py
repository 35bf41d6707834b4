"""`tesp task` against the real API: what is printed, and what the shell is told."""

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from tesp_api.cli.client import TespClient
from tesp_api.tes.states import State
from tests.factories import make_request
from tests.services.pulsar_rest import free_port
from tests.unit.cli.conftest import LiveApi, Tesp

RUN = (State.INITIALIZING, State.RUNNING)


def create(tesp: Tesp, **changes: Any) -> str:
    result = tesp("task", "create", "-", input=json.dumps(make_request(**changes)))
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def executor_log(exit_code: int) -> dict[str, Any]:
    return {
        "exit_code": exit_code,
        "start_time": "2026-01-01T10:00:00+00:00",
        "end_time": "2026-01-01T10:00:02.5+00:00",
    }


def transfer_event(**about: Any) -> bytes:
    event = {
        "seq": 0,
        "at": "2026-01-01T10:00:00+00:00",
        "event": "transfer",
        "direction": "input",
        "url": "http://a/big.bin",
        "path": "/data/big.bin",
        "total_bytes": 8_000_000,
        "files_done": 0,
        "files_total": 1,
        "ended": False,
        **about,
    }
    return json.dumps(event).encode() + b"\n"


def test_create_prints_the_id_alone(tesp: Tesp, tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    file.write_text(json.dumps(make_request()))
    task_id = tesp("task", "create", str(file)).stdout.strip()
    assert json.loads(tesp("task", "get", task_id, "--json").stdout)["name"] == "hello"
    assert json.loads(tesp("task", "create", str(file), "--json").stdout)["id"] != task_id


def test_create_shows_each_fault_with_its_field(tesp: Tesp) -> None:
    wrong = {"executors": [{"image": "", "command": []}], "volumes": ["relative"]}
    result = tesp("task", "create", "-", input=json.dumps(wrong))
    assert result.exit_code == 1
    for field in ("executors[0].image", "executors[0].command", "volumes[0]"):
        assert f"\n  {field}: " in result.stderr


@pytest.mark.parametrize(
    ("text", "said"), [("{", "standard input is not valid JSON"), ("[]", "no JSON object")]
)
def test_create_refuses_what_is_no_task(tesp: Tesp, text: str, said: str) -> None:
    result = tesp("task", "create", "-", input=text)
    assert (result.exit_code, said in result.stderr) == (1, True)


def test_create_names_a_file_that_is_not_there(tesp: Tesp) -> None:
    result = tesp("task", "create", "/no/such.json")
    assert result.exit_code == 1
    assert result.stderr == "tesp: /no/such.json cannot be read: No such file or directory\n"


def test_get_shows_executors_with_code_and_duration(tesp: Tesp, api: LiveApi) -> None:
    task_id = create(tesp, tags={"batch": "7"})
    log = {"logs": [executor_log(3)], "system_logs": ["it went wrong"]}
    api.advance(task_id, *RUN, State.EXECUTOR_ERROR, log=log)
    shown = tesp("task", "get", task_id).stdout
    for text in ("EXECUTOR_ERROR", "batch=7", "2.50 s", "echo hello", "it went wrong"):
        assert text in shown


def test_what_others_wrote_does_not_steer_the_terminal(tesp: Tesp, api: LiveApi) -> None:
    evil = "\x1b]0;pwned\x07\x1b[2J\r\x9b31m\u202etxt"
    task_id = create(tesp, name=f"n{evil}", description=evil, tags={f"t{evil}": evil})
    log = {"logs": [executor_log(3)], "system_logs": [evil], "outputs": []}
    api.advance(task_id, *RUN, State.EXECUTOR_ERROR, log=log)
    shown = [tesp("task", "get", task_id), tesp("task", "list"), tesp("task", "list", "--json")]
    shown.append(tesp("task", "get", "\x1b[2J"))
    for result in shown:
        text = result.stdout + result.stderr
        assert not set("\x1b\x07\r\x9b\u202e") & set(text), text
    assert "n\u241b]0;pwned" in shown[0].stdout


def test_an_unknown_task_is_told(tesp: Tesp) -> None:
    result = tesp("task", "get", "nothing-here")
    assert result.exit_code == 1
    assert result.stderr == "tesp: there is no task 'nothing-here' (404)\n"


@pytest.mark.parametrize("task_id", ["a/b", "..", "a?x=1", "%2e%2e"])
def test_what_cannot_be_an_id_never_reaches_the_server(tesp: Tesp, task_id: str) -> None:
    assert tesp("task", "cancel", task_id).exit_code == 2


def test_list_filters_and_pages(tesp: Tesp, api: LiveApi) -> None:
    ids = [create(tesp, name=f"n{number}", tags={"odd": str(number % 2)}) for number in range(5)]
    api.advance(ids[0], *RUN)

    def listed(*options: str) -> list[str]:
        return [task["id"] for task in json.loads(tesp("task", "list", "--json", *options).stdout)["tasks"]]

    assert listed() == ids[::-1]
    assert listed("--state", "running") == [ids[0]]
    assert listed("--name-prefix", "n3") == [ids[3]]
    assert listed("--tag", "odd=1") == [ids[3], ids[1]]
    assert listed("--tag", "even") == []
    assert listed("--page-size", "2") == [ids[4], ids[3]]
    assert listed("--page-size", "2", "--all") == ids[::-1]
    first = tesp("task", "list", "--page-size", "2")
    assert "--all" in first.stderr
    assert ids[4] in first.stdout
    assert "no such tasks" in tesp("task", "list", "--name-prefix", "zzz").stdout


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (State.COMPLETE, 0),
        (State.EXECUTOR_ERROR, 10),
        (State.SYSTEM_ERROR, 11),
        (State.PREEMPTED, 13),
    ],
)
def test_wait_tells_the_end_by_its_exit_code(tesp: Tesp, api: LiveApi, end: State, code: int) -> None:
    task_id = create(tesp)
    threading.Thread(target=api.advance, args=(task_id, *RUN, end)).start()
    result = tesp("task", "wait", task_id, "--timeout", "20")
    assert result.exit_code == code
    assert result.stdout.split() == [task_id, end]
    assert end in result.stderr


def test_wait_for_several_tells_the_worst(tesp: Tesp, api: LiveApi) -> None:
    good, bad = create(tesp), create(tesp)
    api.advance(good, *RUN, State.COMPLETE)
    tesp("task", "cancel", bad)
    api.advance(bad, State.CANCELED)
    result = tesp("task", "wait", good, bad, "--json")
    assert result.exit_code == 12
    assert [task["state"] for task in json.loads(result.stdout)["tasks"]] == ["COMPLETE", "CANCELED"]


def test_wait_draws_a_bar_for_each_transfer_and_names_its_task(
    tesp: Tesp, api: LiveApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, to rich
    monkeypatch.setenv("COLUMNS", "120")
    first, second = create(tesp), create(tesp)
    several = {"path": "/data/reads/", "direction": "output", "files_done": 3, "files_total": 5}
    for task_id, about in ((first, {}), (second, several)):
        api.advance(task_id, State.INITIALIZING)
        api.write_log(task_id, 0, "events", 0, transfer_event(done_bytes=2_000_000, **about))

    def finish() -> None:
        for task_id in (first, second):
            api.advance(task_id, State.RUNNING, State.COMPLETE)

    timer = threading.Timer(1.0, finish)
    timer.start()
    result = tesp("task", "wait", first, second)
    timer.join()
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", result.stderr)
    assert re.search(rf"{first[-6:]} ← big\.bin +\S+ +2\.0/8\.0 MB", drawn), drawn
    assert re.search(rf"{second[-6:]} → reads \(3 of 5 files\) ", drawn)
    assert "big.bin" not in result.stdout


def test_wait_draws_the_bars_of_a_second_attempt_from_its_first_event_on(
    tesp: Tesp, api: LiveApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    task_id = create(tesp)
    api.advance(task_id, State.INITIALIZING)
    api.write_log(task_id, 0, "events", 0, 3 * transfer_event(done_bytes=1_000_000))

    def try_again() -> None:
        api.begin_attempt(task_id, 2)
        api.write_log(task_id, 0, "events", 0, transfer_event(path="/data/again.bin", done_bytes=1), 2)

    timers = [
        threading.Timer(0.7, try_again),
        threading.Timer(2.0, api.advance, (task_id, State.RUNNING, State.COMPLETE)),
    ]
    for timer in timers:
        timer.start()
    result = tesp("task", "wait", task_id)
    for timer in timers:
        timer.join()
    assert "big.bin" in result.stderr
    assert "again.bin" in result.stderr


def test_wait_gives_up_in_time(tesp: Tesp) -> None:
    task_id = create(tesp)
    result = tesp("task", "wait", task_id, "--timeout", "0")
    assert result.exit_code == 4
    assert f"{task_id} (QUEUED)" in result.stderr


def test_json_is_printed_also_when_the_time_is_over(tesp: Tesp) -> None:
    task = json.dumps(make_request())
    result = tesp("task", "create", "-", "--wait", "--timeout", "0", "--json", input=task)
    assert (result.exit_code, json.loads(result.stdout)["state"]) == (4, "QUEUED")
    result = tesp("task", "wait", json.loads(result.stdout)["id"], "--timeout", "0", "--json")
    assert (result.exit_code, json.loads(result.stdout)["tasks"][0]["state"]) == (4, "QUEUED")


def test_logs_are_copied_byte_for_byte(tesp: Tesp, api: LiveApi) -> None:
    task_id = create(tesp, executors=make_request()["executors"] * 2)
    api.advance(task_id, *RUN, log={"logs": [executor_log(0)]})
    api.write_log(task_id, 0, "stdout", 0, b"one\xff\n")
    api.write_log(task_id, 1, "stdout", 0, b"two\n")
    api.write_log(task_id, 1, "stderr", 0, b"oops\n")
    result = tesp("task", "logs", task_id)
    assert (result.stdout_bytes, result.stderr_bytes) == (b"one\xff\ntwo\n", b"oops\n")
    assert tesp("task", "logs", task_id, "--executor", "1", "--stderr").stdout_bytes == b"oops\n"
    assert tesp("task", "logs", task_id, "--stdout", "--stderr").exit_code == 2
    assert "no executor 2" in tesp("task", "logs", task_id, "--executor", "2").stderr
    document = json.loads(tesp("task", "logs", task_id, "--json").stdout)
    assert document["logs"][0] == {"executor": 0, "stdout": "one\ufffd\n", "stderr": ""}


def test_logs_follow_until_the_end(tesp: Tesp, api: LiveApi) -> None:
    task_id = create(tesp, executors=make_request()["executors"] * 2)
    api.advance(task_id, *RUN)
    api.write_log(task_id, 0, "stdout", 0, b"begin ")

    def go_on() -> None:
        api.write_log(task_id, 0, "stdout", 0, b"begin middle ")
        api.write_log(task_id, 1, "stdout", 0, b"end")
        api.advance(task_id, State.COMPLETE, log={"logs": [executor_log(0), executor_log(0)]})

    threading.Timer(0.3, go_on).start()
    assert tesp("task", "logs", task_id, "-f").stdout_bytes == b"begin middle end"


def test_cancel_shows_what_became_of_it(tesp: Tesp) -> None:
    task_id = create(tesp)
    result = tesp("task", "cancel", task_id)
    assert result.exit_code == 0
    assert result.stdout.split()[0] == task_id
    assert result.stdout.split()[1] in {"CANCELING", "CANCELED"}


def test_cancel_goes_on_after_a_task_that_is_not_there(tesp: Tesp) -> None:
    task_id = create(tesp)
    result = tesp("task", "cancel", "nope", task_id)
    assert result.exit_code == 1
    assert task_id in result.stdout
    assert "there is no task 'nope'" in result.stderr


def test_delete_takes_what_has_ended_and_goes_on_after_what_has_not(tesp: Tesp, api: LiveApi) -> None:
    ended, waiting = create(tesp), create(tesp)
    api.advance(ended, *RUN, State.COMPLETE)
    api.retire(ended)
    result = tesp("task", "delete", waiting, ended)
    assert result.exit_code == 1
    assert result.stdout == f"{ended} deleted\n"
    assert f"task {waiting} is QUEUED" in result.stderr
    assert tesp("task", "get", ended).exit_code == 1
    assert json.loads(tesp("task", "delete", ended, "--json").stdout) == {"deleted": []}


def test_validate_creates_nothing_and_tells_where_the_task_would_go(tesp: Tesp) -> None:
    task = make_request(inputs=[{"path": "/i", "url": "/etc/passwd"}])
    result = tesp("task", "validate", "-", input=json.dumps(task))
    assert result.exit_code == 0
    assert result.stdout.startswith("the task is valid; it would go to local\nwarning: inputs[0].url lies in")
    assert json.loads(tesp("task", "validate", "-", "--json", input=json.dumps(task)).stdout)["valid"]
    assert json.loads(tesp("task", "list", "--json").stdout) == {"tasks": []}


def test_validate_names_each_fault(tesp: Tesp) -> None:
    result = tesp("task", "validate", "-", input=json.dumps({"executors": [], "volumes": ["x"]}))
    assert result.exit_code == 1
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == ["executors", "volumes[0]"]


def test_no_server_is_one_line_that_says_how_to_start_one() -> None:
    result = Tesp(f"http://127.0.0.1:{free_port()}")("task", "list")
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert "tesp serve" in result.stderr


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://127.0.0.1", "http://[", "nonsense", "http://"])
def test_a_url_that_is_none_is_wrong_usage(url: str) -> None:
    result = Tesp(url)("task", "list")
    assert result.exit_code == 2, result.output
    assert "is not a URL" in result.stderr


@pytest.mark.parametrize("path", ["", "/", "/v1", "/ga4gh/tes/v1", "/ga4gh/tes/v1/"])
def test_the_url_of_the_api_will_do_as_well(path: str) -> None:
    with TespClient("http://127.0.0.1:1" + path) as client:
        assert client.url == "http://127.0.0.1:1"
