"""The sandbox in which Snakefiles are evaluated, which are Python programs: each test has one look around."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tesp_api.errors import EngineDied, EngineUnusable
from tesp_api.settings import Settings
from tesp_api.tes.states import State
from tesp_api.wes.engines.base import EngineOutcome
from tesp_api.wes.engines.snakemake.engine import SnakemakeEngine
from tests.fakes.run_host import FakeRunHost
from tests.services.file_server import FileServer
from tests.services.snakemake_engine import snakemake_run, snakemake_settings

pytestmark = pytest.mark.services

SECRET = "the-servers-own-secret"
MARK = "FOUND "
CHANNEL = """
import gc
from engines.inside.channel import Channel
channel = next(one for one in gc.get_objects() if isinstance(one, Channel))
def tried(call, *arguments, **named):
    try:
        return str(call(*arguments, **named))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
"""
"""How a Snakefile takes over all that the expander can do."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TESP_API_SECRET_KEY", SECRET * 2)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret.key").write_text(SECRET)
    return snakemake_settings(tmp_path / "data")


async def evaluate(code: str, settings: Settings, folder: Path) -> tuple[EngineOutcome, FakeRunHost]:
    """Run a Snakefile that is this program."""
    run = snakemake_run(folder / "run-1", {"Snakefile": code})
    host = FakeRunHost(run, settings)
    return await SnakemakeEngine(settings).execute(run, host), host


async def found(code: str, settings: Settings, folder: Path) -> Any:
    """What a program has left in its variable `found`."""
    told = f"\nimport json\nprint({MARK!r} + json.dumps(found))\nrule all:\n    input: []\n"
    outcome, host = await evaluate(code + told, settings, folder)
    assert outcome.state == State.COMPLETE, (outcome, host.logs)
    [line] = [one for one in host.logs["stdout"].decode().splitlines() if one.startswith(MARK)]
    return json.loads(line.removeprefix(MARK))


async def test_its_environment_is_empty(settings: Settings, tmp_path: Path) -> None:
    names = await found("import os; found = dict(os.environ)", settings, tmp_path)
    assert SECRET not in json.dumps(names)
    assert set(names) <= {"PATH", "HOME", "LANG", "TMPDIR", "PWD", "LC_CTYPE", "USER", "OPENBLAS_NUM_THREADS"}


async def test_it_sees_no_files_of_the_server(settings: Settings, tmp_path: Path) -> None:
    paths = [
        "/etc/passwd",
        "/etc/hostname",
        "/root",
        "/home",
        "/usr/bin",
        "/proc/1/environ",
        "/var/lib",
        "/bin",
    ]
    paths += [str(settings.data_dir / "secret.key"), str(Path(__file__).parent)]
    code = f"""
import os
found = {{}}
for path in {paths!r}:
    try:
        found[path] = os.listdir(path) if os.path.isdir(path) else open(path).read()
    except OSError as error:
        found[path] = error.strerror
"""
    seen = await found(code, settings, tmp_path)
    # a Python below somebody's home is shown, alone and without its surroundings
    shown = {
        path: said
        for path, said in seen.items()
        if said not in ("No such file or directory", "Permission denied")
    }
    assert set(map(str, shown.values())) <= {"['.pyenv']"}, shown
    assert SECRET not in json.dumps(seen)


async def test_it_reaches_nobody(settings: Settings, tmp_path: Path) -> None:
    with FileServer() as server:
        code = f"""
import socket
try:
    socket.create_connection(("127.0.0.1", {server.port}), 5)
    found = "connected"
except OSError as error:
    found = str(error)
"""
        said = await found(code, settings, tmp_path)
    assert "refused" in said or "unreachable" in said


async def test_it_sees_no_process_but_its_own_and_writes_nowhere(settings: Settings, tmp_path: Path) -> None:
    code = """
import os
found = {"processes": [open(f"/proc/{one}/cmdline").read() for one in os.listdir("/proc") if one.isdigit()]}
for path in ("/x", "/dev/x", "/engine/engines/snakemake/expander/main.py", os.__file__):
    try:
        open(path, "a")
        found[path] = "written"
    except OSError as error:
        found[path] = error.strerror
"""
    seen = await found(code, settings, tmp_path)
    processes = seen.pop("processes")
    assert 1 <= len(processes) <= 4 and not any("pytest" in one for one in processes)
    assert set(seen.values()) <= {"Read-only file system", "Permission denied"}


@pytest.mark.skipif(os.geteuid() != 0, reason="a user of its own needs root")
async def test_it_is_a_user_of_its_own_and_its_folder_has_an_end(settings: Settings, tmp_path: Path) -> None:
    code = """
import os
found = [os.getuid(), os.getgid()]
try:
    with open("large", "wb") as file:
        for _ in range(300):
            file.write(bytes(1_000_000))
except OSError as error:
    found.append(error.strerror)
os.remove("large")
"""
    user, group, said = await found(code, settings, tmp_path)
    assert min(user, group) > 1_000_000_000
    assert said == "No space left on device"


async def test_who_takes_over_the_channel_has_the_run_and_nothing_else(
    settings: Settings, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "theirs.txt").write_text("theirs")
    urls = [
        "file:///etc/hostname",
        (settings.data_dir / "secret.key").as_uri(),
        (other / "theirs.txt").as_uri(),
    ]
    urls += ["http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:1/", "s3://lab/key"]
    code = f"""{CHANNEL}
found = [tried(channel.read, url, 0, 100) for url in {urls!r}]
found += [tried(channel.write, url, b"x") for url in {urls[:3]!r}]
found += [tried(channel._call, call) for call in ("list_tasks", "get_task", "cancel", "submit", "known_keys")]
"""
    said = await found(code, settings, tmp_path)
    assert all(one.startswith("Refused: ") for one in said), said
    assert (other / "theirs.txt").read_text() == "theirs"


@pytest.mark.parametrize(
    ("code", "state", "said"),
    [
        ("x = bytearray(4_000_000_000)", State.EXECUTOR_ERROR, "MemoryError"),
        ("raise ValueError('x' * 200_000)", State.EXECUTOR_ERROR, "xxx"),
    ],
)
async def test_what_goes_wrong_ends_the_run(
    code: str, state: State, said: str, settings: Settings, tmp_path: Path
) -> None:
    outcome, _ = await evaluate(code, settings, tmp_path)
    assert outcome.state == state, outcome
    assert said in outcome.reason
    assert len(outcome.reason) < 20_000


@pytest.mark.parametrize("code", ["import os; os._exit(3)", f"{CHANNEL}\nchannel._send([1])"])
async def test_an_expander_without_a_last_word_is_told_of(
    code: str, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(EngineDied, match="has died"):
        await evaluate(code, settings, tmp_path)


async def test_one_that_needs_too_much_time_is_told_so(tmp_path: Path) -> None:
    strict = snakemake_settings(tmp_path / "data", wes={"sandbox": {"cpu_s": 4}})
    with pytest.raises(EngineDied, match=r"more processor time than wes.sandbox.cpu_s allows"):
        await evaluate("while True: pass", strict, tmp_path)


async def test_a_run_waits_where_the_sandbox_does_not_start(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bwrap = tmp_path / "bin" / "bwrap"
    bwrap.parent.mkdir()
    bwrap.write_text("#!/bin/sh\necho 'no namespaces here' >&2\nexit 1\n")
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", str(bwrap.parent), prepend=":")
    with pytest.raises(EngineUnusable, match="does not start on this machine: no namespaces here"):
        await evaluate("", settings, tmp_path)


@pytest.mark.parametrize("code", ["sys.stdout.close()", "sys.stdout = None"])
async def test_a_closed_stdout_hides_no_reason(code: str, settings: Settings, tmp_path: Path) -> None:
    outcome, _ = await evaluate(f"import sys\n{code}\nraise ValueError('mine')", settings, tmp_path)
    assert outcome.state == State.EXECUTOR_ERROR
    assert "mine" in outcome.reason


async def test_one_that_sleeps_is_not_waited_for(tmp_path: Path) -> None:
    impatient = snakemake_settings(tmp_path / "data", wes={"engine_silence_s": 3})
    outcome, _ = await evaluate("import time; time.sleep(10_000)", impatient, tmp_path)
    assert outcome.state is State.SYSTEM_ERROR
    assert "wes.engine_silence_s" in outcome.reason
