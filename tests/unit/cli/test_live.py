"""What the command line follows, watches and completes, against the real API."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tesp_api.cli import event_stream, watch
from tesp_api.cli.client import TespClient
from tesp_api.cli.event_stream import StreamEvent, events
from tesp_api.cli.exits import CommandFailed, Exit
from tesp_api.cli.follow import copy_logs
from tesp_api.tes.states import State
from tests.fakes.dropping_proxy import DroppingProxy
from tests.services.tesp import free_port, poll
from tests.unit.cli.conftest import LiveApi, Tesp
from tests.unit.cli.test_task import create

RUN = (State.INITIALIZING, State.RUNNING)
REPOSITORY = Path(__file__).parents[3]


def test_followed_logs_are_exact_also_where_connections_break(tesp: Tesp, api: LiveApi) -> None:
    task_id = create(tesp)
    api.advance(task_id, *RUN)
    whole = b"".join(b"line %d \xff\x00\r\n" % number for number in range(200))
    with DroppingProxy(api.url) as proxy, TespClient(proxy.url) as client:
        got = bytearray()

        def follow() -> None:
            copy_logs(client, task_id, None, ["stdout"], lambda _, __, data: got.extend(data), follow=True)

        following = threading.Thread(target=follow)
        following.start()
        api.write_log(task_id, 0, "stdout", 0, whole[:50])
        poll(lambda: got, timeout_s=60, why="nothing is followed")
        for end in range(100, len(whole) + 100, 100):
            api.write_log(task_id, 0, "stdout", 0, whole[:end])
            if end % 700 == 0:
                proxy.drop()
        api.advance(task_id, State.COMPLETE)
        following.join(60)
    assert got == whole
    assert tesp("task", "logs", task_id, "--follow").stdout_bytes == whole
    assert proxy.dropped > 1


def test_a_stream_is_not_waited_for_at_first_and_given_up_later(
    tesp: Tesp, api: LiveApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    with TespClient(nowhere) as client, pytest.raises(CommandFailed) as failed:
        list(events(client, "/tesp/v1/events"))
    assert failed.value.code is Exit.UNREACHABLE
    monkeypatch.setattr(event_stream, "PATIENCE_S", 0.3)
    task_id = create(tesp)
    with DroppingProxy(api.url) as proxy, TespClient(proxy.url) as client:
        reading = events(client, f"/tesp/v1/tasks/{task_id}/events")
        first = next(reading)
        assert first.name == "state" and first.data["state"] == "QUEUED"
        proxy.close()
        with pytest.raises(CommandFailed) as failed:
            list(reading)
    assert failed.value.code is Exit.UNREACHABLE


def test_a_stream_that_is_refused_ends(tesp: Tesp) -> None:
    result = tesp("task", "logs", "no-such-task", "--follow")
    assert result.exit_code == Exit.FAILED
    with TespClient(tesp.url) as client, pytest.raises(CommandFailed, match="no-such-task"):
        list(events(client, "/tesp/v1/tasks/no-such-task/events"))


def test_events_are_parsed() -> None:
    lines = [":", "retry: 2000", "", "id: 1.2", "event: log", 'data: {"a": ": b"}', "", "data: {}", ""]
    assert list(event_stream._parse(iter(lines))) == [StreamEvent("log", {"a": ": b"}, "1.2")]


def test_a_list_is_watched(
    tesp: Tesp, api: LiveApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch, "_EVERY_S", 0.01)
    task_id = create(tesp, name="watched")
    shown: list[str] = []
    rounds = 0

    def show() -> None:
        nonlocal rounds
        with TespClient(api.url) as client:
            shown.extend(row["state"] for row in client.rows([]) if row["id"] == task_id)
        rounds += 1
        if "COMPLETE" in shown:
            raise KeyboardInterrupt
        states = {1: [State.INITIALIZING, State.RUNNING], 2: [State.COMPLETE]}
        api.advance(task_id, *states.get(rounds, []))

    with TespClient(api.url) as client:
        watch.redraw(client, show)
    assert shown[0] == "QUEUED" and shown[-1] == "COMPLETE"
    assert rounds < 8  # a change wakes it; without any it looks every five seconds

    seen: dict[str, str] = {}
    with TespClient(api.url) as client:
        watch._print_changes(client.rows([]), seen)
        watch._print_changes(client.rows([]), seen)
    assert capsys.readouterr().out.splitlines() == [f"{task_id}  COMPLETE  watched"]
    assert tesp("task", "list", "--watch", "--json").exit_code == Exit.USAGE


def test_top_shows_what_goes_on(tesp: Tesp, api: LiveApi) -> None:
    running, waiting, ended = create(tesp, name="a \x1b[31m"), create(tesp), create(tesp)
    api.advance(running, *RUN)
    api.advance(ended, *RUN, State.COMPLETE)
    result = tesp("top", "--once")
    assert result.exit_code == 0, result.output
    assert "COMPLETE 1" in result.stdout and "RUNNING 1" in result.stdout
    lines = [line for line in result.stdout.splitlines() if line[:8] in (running[:8], waiting[:8])]
    assert len(lines) == 2 and "RUNNING" in lines[0] and "QUEUED" in lines[1]
    assert ended not in result.stdout and "\x1b[31m" not in result.stdout


COMPLETED = {
    "bash": {"COMP_WORDS": "tesp task lo", "COMP_CWORD": "2"},
    "zsh": {"_TYPER_COMPLETE_ARGS": "tesp task lo"},
    "fish": {"_TYPER_COMPLETE_ARGS": "tesp task lo", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}


def tesp_process(**environment: str) -> str:
    command = [sys.executable, "-c", "from tesp_api.cli.main import app; app(prog_name='tesp')"]
    given = os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment
    ran = subprocess.run(command, env=given, capture_output=True, text=True, timeout=120, check=True)
    return ran.stdout


@pytest.mark.parametrize("shell", COMPLETED)
def test_commands_are_completed(shell: str) -> None:
    script = tesp_process(_TESP_COMPLETE=f"source_{shell}")
    assert "_TESP_COMPLETE" in script
    found = tesp_process(_TESP_COMPLETE=f"complete_{shell}", **COMPLETED[shell])
    assert "logs" in found and "list" not in found


def test_bash_completes(tmp_path: Path) -> None:
    """The script that we give, in a real bash, as the Tab key calls it."""
    program = tmp_path / "tesp"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from tesp_api.cli.main import app\napp(prog_name='tesp')\n"
    )
    program.chmod(0o755)
    script = """
eval "$(_TESP_COMPLETE=source_bash tesp)"
COMP_WORDS=(tesp task cr); COMP_CWORD=2
$(complete -p tesp | sed 's/.*-F \\([^ ]*\\).*/\\1/') tesp cr task
echo "${COMPREPLY[@]}"
"""
    path = f"{tmp_path}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.stdout.split() == ["create"], ran.stderr
