"""What a workflow's own code finds in the expander: nothing worth having. Each test tries to get at it."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from tesp_api.errors import EngineUnusable
from tesp_api.settings import Settings
from tesp_api.tes.states import State
from tesp_api.wes.engines.base import EngineOutcome
from tesp_api.wes.engines.cwl.engine import CwlEngine, cwl_environment
from tesp_api.wes.engines.environments import STAMP, EngineEnvironment
from tesp_api.wes.engines.sandbox import _START, Sandbox, counts_by_namespace
from tests.fakes.run_host import FakeRunHost
from tests.services.cwl_engine import engine_settings
from tests.services.file_server import FileServer
from tests.services.plain_run_host import engine_run
from tests.services.tesp import poll

pytestmark = pytest.mark.services

SECRET = "the-servers-own-secret"
SOURCE = sys.modules[CwlEngine.__module__].__file__
ORDINARY_USER = 54_321
ESCAPE = 'const process = globalThis.constructor.constructor("return process")();'
"""A known way out of the context in which node evaluates expressions."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TESP_API_SECRET_KEY", SECRET * 2)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret.key").write_text(SECRET)
    return engine_settings(tmp_path / "data")


async def evaluate(
    code: str, settings: Settings, folder: Path, inputs: Mapping[str, Any] | None = None
) -> tuple[EngineOutcome, Any]:
    """Run an expression as a workflow; how the run ended, and what the expression returned."""
    declared = dict.fromkeys(inputs or {}, "Any")
    run = engine_run(folder / "run-1", "expression.cwl", inputs or {})
    tool = {
        "cwlVersion": "v1.2",
        "class": "ExpressionTool",
        "requirements": {"InlineJavascriptRequirement": {}},
        "inputs": declared,
        "outputs": {"found": "Any"},
        "expression": "${" + code + "}",
    }
    (run.attachments / "expression.cwl").write_text(json.dumps(tool))
    outcome = await CwlEngine(settings).execute(run, FakeRunHost(run, settings))
    return outcome, outcome.outputs.get("found")


async def escaped(code: str, settings: Settings, folder: Path) -> Any:
    """What code found that has left the context of expressions; it returns the text of an error for one."""
    caught = f"{ESCAPE} try {{ {code} }} catch (error) {{ return {{found: String(error)}}; }}"
    outcome, found = await evaluate(caught, settings, folder)
    assert outcome.state == State.COMPLETE, outcome
    return found


async def test_the_way_out_of_the_context_is_open_indeed(settings: Settings, tmp_path: Path) -> None:
    """Or else the other tests would prove nothing."""
    assert await escaped("return {found: process.version};", settings, tmp_path)


async def test_its_environment_is_empty(settings: Settings, tmp_path: Path) -> None:
    found = await escaped("return {found: Object.assign({}, process.env)};", settings, tmp_path)
    assert SECRET not in json.dumps(found)
    assert set(found) <= {"PATH", "HOME", "LANG", "TMPDIR", "PWD"}


@pytest.mark.parametrize(
    "path", ["/etc/hostname", "/etc/passwd", "/root", "/home", "/var", "/usr/bin", SOURCE, "/proc/1/environ"]
)
async def test_it_sees_no_files_of_the_server(path: str, settings: Settings, tmp_path: Path) -> None:
    look = "const fs = process.getBuiltinModule('fs');"
    look += f"const p = {json.dumps(path)};"
    look += "return {found: fs.statSync(p).isDirectory() ? fs.readdirSync(p) : fs.readFileSync(p, 'utf8')};"
    found = await escaped(look, settings, tmp_path)
    # a Python below somebody's home is shown, alone and without its surroundings
    assert found == [".pyenv"] or "ENOENT" in found or "EACCES" in found


async def test_it_sees_nothing_of_the_data_folder(settings: Settings, tmp_path: Path) -> None:
    path = json.dumps(str(settings.data_dir / "secret.key"))
    found = await escaped(
        f"return {{found: process.getBuiltinModule('fs').readFileSync({path}, 'utf8')}};", settings, tmp_path
    )
    assert "ENOENT" in found


async def test_it_reaches_nobody(settings: Settings, tmp_path: Path) -> None:
    with FileServer() as server:
        port = server.port
        code = "const run = process.getBuiltinModule('child_process').spawnSync; const script = "
        code += json.dumps(
            f"const s = require('net').connect({port}, '127.0.0.1');"
            "s.on('connect', () => console.log('in')); s.on('error', e => console.log(e.code));"
        )
        code += "; return {found: run(process.execPath, ['-e', script], {encoding: 'utf8'}).stdout};"
        found = await escaped(code, settings, tmp_path)
    assert found.strip() in ("ECONNREFUSED", "ENETUNREACH")


async def test_it_sees_no_process_but_its_own(settings: Settings, tmp_path: Path) -> None:
    code = "const fs = process.getBuiltinModule('fs'); return {found: fs.readdirSync('/proc')"
    code += ".filter(p => /^[0-9]+$/.test(p)).map(p => fs.readFileSync(`/proc/${p}/cmdline`, 'utf8'))};"
    found = await escaped(code, settings, tmp_path)
    assert 1 <= len(found) <= 4
    assert not any("pytest" in line for line in found)


async def test_it_can_neither_write_nor_look_into_the_expander(settings: Settings, tmp_path: Path) -> None:
    code = "const fs = process.getBuiltinModule('fs'); const said = [];"
    code += "const memory = `/proc/${process.ppid}/mem`;"
    code += "for (const path of ['/engine/engines/cwl/expander/main.py', '/x', process.execPath, memory])"
    code += "try { fs.appendFileSync(path, 'x'); said.push('written'); } catch (e) { said.push(e.code); }"
    code += "return {found: said};"
    found = await escaped(code, settings, tmp_path)
    assert set(found) <= {"EROFS", "EACCES", "EPERM"}


@pytest.mark.skipif(os.geteuid() != 0, reason="a user of its own needs root")
async def test_it_is_a_user_of_its_own(settings: Settings, tmp_path: Path) -> None:
    found = await escaped("return {found: [process.getuid(), process.getgid()]};", settings, tmp_path)
    assert min(found) > 1_000_000_000


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/hostname", "lies outside the directories"),
        ("/etc/hostname", "lies outside the directories"),
        ("http://169.254.169.254/latest/meta-data/", "a cloud metadata address"),
        ("http://metadata.google.internal/", "known to be local"),
        ("http://127.0.0.1:1/", "a loopback address"),
        ("s3://lab/key", "no credential"),
    ],
)
@pytest.mark.parametrize("how", ["input", "document", "import"])
async def test_the_server_does_not_fetch_for_it_what_is_not_allowed(
    url: str, reason: str, how: str, settings: Settings, tmp_path: Path
) -> None:
    tool: dict[str, Any] = {
        "cwlVersion": "v1.2",
        "class": "CommandLineTool",
        "inputs": {"file": {"type": "File", "loadContents": True, "inputBinding": {}}},
        "outputs": {},
        "baseCommand": "cat",
    }
    if how == "import":
        tool["requirements"] = [{"$import": url}]
    inputs = {"file": {"class": "File", "location": url}}
    run = engine_run(tmp_path / "run-1", url if how == "document" else "tool.cwl", inputs)
    (run.attachments / "tool.cwl").write_text(json.dumps(tool))
    host = FakeRunHost(run, settings)
    outcome = await CwlEngine(settings).execute(run, host)
    assert outcome.state == State.EXECUTOR_ERROR
    assert reason in outcome.reason
    assert not host.steps


async def test_other_runs_and_the_data_folder_are_not_read(settings: Settings, tmp_path: Path) -> None:
    other = tmp_path / "other" / "work"
    other.mkdir(parents=True)
    (other / "result.txt").write_text("theirs")
    roots = [{"path": str(tmp_path), "mount": "ro"}]
    generous = engine_settings(settings.data_dir, roots)
    for path in (settings.data_dir / "secret.key",):
        inputs = {"file": {"class": "File", "location": path.as_uri()}}
        outcome, _ = await evaluate("return {found: inputs.file.size};", generous, tmp_path, inputs)
        assert outcome.state == State.EXECUTOR_ERROR
        assert "the server's own" in outcome.reason


async def test_without_bubblewrap_nothing_runs(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tesp_api.wes.engines.sandbox.shutil.which", lambda _: None)
    with pytest.raises(EngineUnusable, match=r"wes\.sandbox\.allow_unconfined"):
        await evaluate("return {found: 1};", settings, tmp_path)


async def test_unconfined_it_has_an_empty_environment_at_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tesp_api.wes.engines.sandbox.shutil.which", lambda _: None)
    monkeypatch.setenv("TESP_API_SECRET_KEY", SECRET * 2)
    settings = engine_settings(tmp_path / "data", wes={"sandbox": {"allow_unconfined": True}})
    found = await escaped("return {found: Object.assign({}, process.env)};", settings, tmp_path)
    assert SECRET not in json.dumps(found)


@pytest.mark.parametrize(
    ("code", "limits", "said"),
    [
        ("x = bytearray(400_000_000)", {"memory_gb": 0.25}, "MemoryError"),
        ("while True: pass", {"cpu_s": 1}, ""),
        ("open('/tmp/x', 'wb').write(bytes(80_000_000))", {}, "File too large"),
        ("[open('/dev/null') for _ in range(2000)]", {}, "Too many open files"),
    ],
)
def test_limits(code: str, limits: Mapping[str, float], said: str, tmp_path: Path) -> None:
    settings = engine_settings(tmp_path / "data", wes={"sandbox": limits})
    ended = in_sandbox(code, settings)
    assert ended.returncode != 0
    assert said in ended.stderr


@pytest.mark.parametrize("folder", ["/", "/dev", "/dev/shm", "/engine"])
def test_nothing_can_be_written_but_tmp(folder: str, tmp_path: Path) -> None:
    """Everything else would be memory without a limit."""
    ended = in_sandbox(f"open('{folder}/x', 'wb')", engine_settings(tmp_path / "data"))
    assert "Read-only file system" in ended.stderr
    for fine in ("/dev/null", "/tmp/x"):
        assert not in_sandbox(f"open('{fine}', 'wb')", engine_settings(tmp_path / "data")).returncode


FORKS = """
import json, os, sys, time
sys.path.append(sys.argv[1])
from engines.inside.confinement import confine
confine(json.loads(sys.argv[2]))
for _ in range(40):
    if not os.fork():
        time.sleep(60)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a user of its own needs root")
def test_processes_have_a_limit_without_a_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tesp_api.wes.engines.sandbox.create_group", lambda *_: None)
    ended = in_sandbox(FORKS, engine_settings(tmp_path / "data", wes={"sandbox": {"processes_max": 30}}))
    assert "BlockingIOError" in ended.stderr


COUNTED_FORKS = """
import json, os, sys, time
sys.path.append(sys.argv[1])
from engines.inside.confinement import confine
confine(json.loads(sys.argv[2]))
try:
    for number in range(40):
        if not os.fork():
            time.sleep(60)
except BlockingIOError:
    print(number)
"""


@pytest.fixture
def ordinary_users_folder() -> Iterator[Path]:
    """One that every user may read."""
    folder = Path(tempfile.mkdtemp(prefix="tesp-ordinary-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(not counts_by_namespace(), reason="this kernel counts all that a user runs")
def test_an_ordinary_users_processes_are_counted_in_the_sandbox(
    ordinary_users_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What else that user runs does not count."""
    monkeypatch.setattr("tesp_api.wes.engines.sandbox.create_group", lambda *_: None)
    monkeypatch.setattr("tesp_api.wes.engines.sandbox.os.geteuid", lambda: ORDINARY_USER)
    environment = EngineEnvironment(
        "cwl", "cwltool", Path(str(SOURCE)).parent / "requirements.txt", ordinary_users_folder
    )
    (environment.folder / "bin").mkdir(parents=True)
    environment.python.symlink_to("/usr/bin/python3")
    (environment.folder / STAMP).write_text("{}")
    me: Mapping[str, Any] = (
        {"user": ORDINARY_USER, "group": ORDINARY_USER, "extra_groups": []} if os.getuid() == 0 else {}
    )
    entering = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "test", "-r", str(SOURCE)]
    if subprocess.run(entering, capture_output=True, **me).returncode:
        pytest.skip("ordinary users may not make namespaces here, or not read this code")
    others = subprocess.Popen(
        ["sh", "-c", "for one in $(seq 40); do sleep 60 & done; echo; wait"],
        stdout=subprocess.PIPE,
        start_new_session=True,
        **me,
    )
    try:
        assert others.stdout is not None
        others.stdout.readline()
        sandbox = Sandbox(environment, Settings(wes={"sandbox": {"processes_max": 30}}).wes.sandbox)
        ended = run_in(sandbox, COUNTED_FORKS, **me)
    finally:
        os.killpg(others.pid, signal.SIGKILL)
        others.communicate()
    assert 20 <= int(ended.stdout or 40) <= 30, ended


async def test_a_reason_is_not_as_long_as_a_workflow_likes(settings: Settings, tmp_path: Path) -> None:
    run = engine_run(tmp_path / "run-1", "tool.cwl", {})
    tool = {
        "cwlVersion": "v1.2",
        "class": "CommandLineTool",
        "inputs": {"file": "x" * 200_000},
        "outputs": [],
    }
    (run.attachments / "tool.cwl").write_text(json.dumps(tool))
    outcome = await CwlEngine(settings).execute(run, FakeRunHost(run, settings))
    assert outcome.state == State.EXECUTOR_ERROR
    assert "xxx" in outcome.reason
    assert len(outcome.reason) < 20_000


def in_sandbox(code: str, settings: Settings) -> subprocess.CompletedProcess[str]:
    """Run code of ours in place of the expander."""
    return run_in(Sandbox(cwl_environment(settings), settings.wes.sandbox), code)


def run_in(sandbox: Sandbox, code: str, **more: Any) -> subprocess.CompletedProcess[str]:
    launch = sandbox.launch("run-1")
    argv = list(launch.argv)
    argv[argv.index(_START)] = code
    try:
        return subprocess.run(
            argv,
            env=dict(launch.environment),
            capture_output=True,
            text=True,
            timeout=60,
            **more,
        )
    finally:
        if launch.group is not None:
            launch.group.remove()


SERVER = """
import asyncio, json, sys
from pathlib import Path
from tests.fakes.run_host import FakeRunHost
from tests.services.cwl_engine import engine_settings
from tests.services.plain_run_host import engine_run
from tesp_api.wes.engines.cwl.engine import CwlEngine

async def never(self, task_id):
    Path(sys.argv[1], "waiting").touch()
    await asyncio.sleep(600)

FakeRunHost.wait = never
folder = Path(sys.argv[1])
settings = engine_settings(folder / "data")
run = engine_run(folder / "run-1", "tool.cwl", {})
asyncio.run(CwlEngine(settings).execute(run, FakeRunHost(run, settings)))
"""


@pytest.mark.parametrize("is_confined", [True, False])
def test_it_dies_with_the_server(is_confined: bool, tmp_path: Path) -> None:
    run = engine_run(tmp_path / "run-1", "tool.cwl", {})
    tool = {
        "cwlVersion": "v1.2",
        "class": "CommandLineTool",
        "inputs": {},
        "outputs": {},
        "baseCommand": "true",
    }
    (run.attachments / "tool.cwl").write_text(json.dumps(tool))
    code = SERVER
    if not is_confined:
        code = code.replace('/ "data")', "/ \"data\", wes={'sandbox': {'allow_unconfined': True}})")
        code = "import tesp_api.wes.engines.sandbox as s; s.shutil.which = lambda _: None\n" + code
    server = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env=os.environ | {"PYTHONPATH": str(Path.cwd())}
    )
    try:
        poll((tmp_path / "waiting").exists, timeout_s=60, why="the step is not waited for")
        children = psutil.Process(server.pid).children(recursive=True)
        assert children
        server.kill()
        server.wait()
        assert not psutil.wait_procs(children, timeout=20)[1]
    finally:
        server.kill()
        server.wait()


@pytest.fixture(autouse=True)
def _tidy(tmp_path: Path) -> Iterator[None]:
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)


async def test_a_cancellation_stops_it_at_once(settings: Settings, tmp_path: Path) -> None:
    run = engine_run(tmp_path / "run-1", "tool.cwl", {})
    tool = {
        "cwlVersion": "v1.2",
        "class": "CommandLineTool",
        "inputs": {},
        "outputs": {},
        "baseCommand": "true",
    }
    (run.attachments / "tool.cwl").write_text(json.dumps(tool))
    host = FakeRunHost(run, settings)
    waiting = asyncio.Event()

    async def never(_: str) -> Any:
        waiting.set()
        await asyncio.Event().wait()

    host.wait = never  # type: ignore[method-assign, assignment]
    others = set(psutil.Process().children(recursive=True))
    execution = asyncio.create_task(CwlEngine(settings).execute(run, host))
    await asyncio.wait_for(waiting.wait(), 60)
    children = [one for one in psutil.Process().children(recursive=True) if one not in others]
    assert children
    execution.cancel()
    with pytest.raises(asyncio.CancelledError):
        await execution
    assert not psutil.wait_procs(children, timeout=10)[1]
