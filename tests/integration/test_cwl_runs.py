"""What the CWL engine has done for a run, and how the run ends; its steps end as each test says."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psutil  # type: ignore[import-untyped]
import pytest

from tesp_api.errors import EngineUnusable, Fault, InvalidRequest, RunCanceled, StoreUnavailable
from tesp_api.settings import Settings
from tesp_api.tes.states import State
from tesp_api.tes.validation import validate_task
from tesp_api.wes.engines.base import EngineRun, Step, StepEnd
from tesp_api.wes.engines.cwl.engine import CwlEngine
from tests.fakes.run_host import FakeRunHost
from tests.services.cwl_engine import engine_settings
from tests.services.plain_run_host import engine_run

pytestmark = pytest.mark.services

TOOL: dict[str, Any] = {
    "cwlVersion": "v1.2",
    "class": "CommandLineTool",
    "inputs": {"word": {"type": "string", "inputBinding": {}}},
    "outputs": {"out": "stdout"},
    "baseCommand": "echo",
    "stdout": "out.txt",
}
SCATTER: dict[str, Any] = {
    "cwlVersion": "v1.2",
    "class": "Workflow",
    "requirements": {"ScatterFeatureRequirement": {}},
    "inputs": {"words": "string[]"},
    "outputs": {"all": {"type": "File[]", "outputSource": "say/out"}},
    "steps": {"say": {"run": "tool.cwl", "scatter": "word", "in": {"word": "words"}, "out": ["out"]}},
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return engine_settings(tmp_path / "data")


def prepared(
    folder: Path, documents: Mapping[str, Any], params: Mapping[str, Any], name: str = "run-1", **changes: Any
) -> EngineRun:
    """A run of the first of the documents."""
    run = engine_run(folder / name, next(iter(documents)), params, **changes)
    for file, document in documents.items():
        (run.attachments / file).write_text(document if isinstance(document, str) else json.dumps(document))
    return run


def wrote(files: Mapping[str, str]) -> Any:
    """The end of a step that has left these files."""

    def end(step: Step) -> StepEnd:
        [output] = step.document["outputs"]
        folder = Path(unquote(urlsplit(output["url"]).path))
        folder.mkdir(parents=True, exist_ok=True)
        sent = []
        for name, text in files.items():
            (folder / name).write_text(text)
            sent.append({"url": output["url"] + name, "path": name, "size_bytes": str(len(text))})
        log = {"logs": [{"exit_code": 0}], "outputs": sent}
        return StepEnd(f"task-{step.key}", State.COMPLETE, log, step.document)

    return end


async def test_a_step_as_a_task(settings: Settings, tmp_path: Path) -> None:
    tool = TOOL | {
        "requirements": {
            "ResourceRequirement": {"coresMin": 1.5, "ramMin": 1000, "tmpdirMin": 100},
            "ToolTimeLimit": {"timelimit": 60},
            "EnvVarRequirement": {"envDef": {"GREETING": "hi"}},
            "DockerRequirement": {"dockerPull": "quay.io/lab/tool:1"},
            "InitialWorkDirRequirement": {
                "listing": [
                    {"entry": "$(inputs.file)", "writable": True},
                    {"entryname": "x", "entry": "content"},
                ]
            },
        },
        "inputs": {"file": "File", "empty": "Directory"},
        "arguments": ["$(inputs.file.path)", "a b"],
        "successCodes": [0, 7],
    }
    inputs = {
        "file": {"class": "File", "location": "in%20put.txt"},
        "empty": {"class": "Directory", "basename": "empty", "listing": []},
    }
    run = prepared(tmp_path, {"tool.cwl": tool, "in put.txt": "data"}, inputs)
    host = FakeRunHost(run, settings, wrote({"out.txt": "said"}))
    outcome = await CwlEngine(settings).execute(run, host)
    assert outcome.state == State.COMPLETE, outcome
    [step] = host.steps
    document = dict(step.document)
    assert document["executors"] == [
        {
            "image": "quay.io/lab/tool:1",
            "command": ["echo", "/var/spool/cwl/in put.txt", "a b"],
            "workdir": "/var/spool/cwl",
            "env": {"GREETING": "hi", "HOME": "/var/spool/cwl", "TMPDIR": "/tmp"},
            "stdout": "/var/spool/cwl/out.txt",
            "ignore_error": True,
        }
    ]
    content = {"path": "/var/spool/cwl/x", "content": "content", "type": "FILE"}
    assert content in document["inputs"]
    url = f"{run.work_url}attachments/in%20put.txt"
    assert {"path": "/var/spool/cwl/in put.txt", "url": url, "type": "FILE"} in document["inputs"]
    assert document["outputs"][0]["path"] == "/var/spool/cwl"
    assert document["outputs"][0]["url"].startswith(f"{run.work_url}steps/")
    assert document["volumes"] == ["/var/spool/cwl", "/var/lib/cwl/stg0/empty"]
    resources = document["resources"]
    assert resources["cpu_cores"] == 2
    assert resources["ram_gb"] == pytest.approx(1.048576)
    assert resources["disk_gb"] == pytest.approx(1.178599424)
    assert resources["backend_parameters"] == {
        "checksums": "sha1",
        "copied_inputs": '["/var/spool/cwl/in put.txt"]',
        "running_s": "60",
    }
    assert not validate_task(document).warnings
    assert outcome.outputs["out"]["location"] == document["outputs"][0]["url"] + "out.txt"


async def test_what_a_tool_does_not_ask_for_is_not_limited(settings: Settings, tmp_path: Path) -> None:
    run = prepared(tmp_path, {"tool.cwl": TOOL}, {"word": "x"}, engine_parameters={"default_image": "mine:1"})
    host = FakeRunHost(run, settings, wrote({"out.txt": ""}))
    await CwlEngine(settings).execute(run, host)
    [step] = host.steps
    assert step.document["resources"] == {"backend_parameters": {"checksums": "sha1"}}
    assert step.document["executors"][0]["image"] == "mine:1"


async def test_steps_of_a_scatter_run_at_once(settings: Settings, tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(30)]
    run = prepared(tmp_path, {"flow.cwl": SCATTER, "tool.cwl": TOOL}, {"words": words})
    host = FakeRunHost(run, settings, wrote({"out.txt": "x"}))
    all_there = asyncio.Event()
    submit, wait = host.submit, host.wait

    async def submitted(step: Step) -> str:
        task_id = await submit(step)
        if len(host.steps) == len(words):
            all_there.set()
        return task_id

    async def waited(task_id: str) -> StepEnd:
        await asyncio.wait_for(all_there.wait(), 60)
        return await wait(task_id)

    host.submit, host.wait = submitted, waited  # type: ignore[method-assign]
    outcome = await CwlEngine(settings).execute(run, host)
    assert outcome.state == State.COMPLETE, outcome
    assert len(outcome.outputs["all"]) == len(words)
    commands = [step.document["executors"][0]["command"][1] for step in host.steps]
    assert commands == words


async def keys_of(run: EngineRun, settings: Settings) -> list[str]:
    host = FakeRunHost(run, settings, wrote({"out.txt": "x"}))
    await CwlEngine(settings).execute(run, host)
    return [step.key for step in host.steps]


async def test_a_step_is_the_same_step_whenever_it_comes_up(settings: Settings, tmp_path: Path) -> None:
    documents = {"flow.cwl": SCATTER, "tool.cwl": TOOL}
    run = prepared(tmp_path, documents, {"words": ["a", "b", "a"]})
    keys = await keys_of(run, settings)
    assert len(set(keys)) == 3
    assert await keys_of(run, settings) == keys
    other = prepared(tmp_path, documents, {"words": ["b", "a", "a"]}, name="run-2")
    assert set(await keys_of(other, settings)) == set(keys)


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        (lambda tool, data: (tool, data), True),
        (lambda tool, data: (tool, "atad"), False),
        (lambda tool, data: (tool | {"baseCommand": "tac"}, data), False),
        (lambda tool, data: (tool | {"label": "another"}, data), False),
    ],
)
async def test_what_tells_steps_apart(change: Any, is_same: bool, settings: Settings, tmp_path: Path) -> None:
    tool = TOOL | {"baseCommand": "cat", "inputs": {"file": {"type": "File", "inputBinding": {}}}}
    inputs = {"file": {"class": "File", "location": "data.txt"}}
    first = prepared(tmp_path, {"tool.cwl": tool, "data.txt": "data"}, inputs)
    changed, data = change(tool, "data")
    second = prepared(tmp_path, {"tool.cwl": changed, "data.txt": data}, inputs, name="run-2")
    assert (await keys_of(first, settings) == await keys_of(second, settings)) is is_same


async def test_reuse_can_be_refused(settings: Settings, tmp_path: Path) -> None:
    tool = TOOL | {"requirements": {"WorkReuse": {"enableReuse": False}}}
    runs = [prepared(tmp_path, {"tool.cwl": tool}, {"word": "x"}, name=f"run-{count}") for count in (1, 2)]
    first, second = [await keys_of(run, settings) for run in runs]
    assert first != second
    assert await keys_of(runs[0], settings) == first


async def test_a_step_taken_over_from_another_run(settings: Settings, tmp_path: Path) -> None:
    """Its files stay where they are, and steps that use them are found again as well."""
    flow = {
        "cwlVersion": "v1.2",
        "class": "Workflow",
        "inputs": {"word": "string"},
        "outputs": {"out": {"type": "File", "outputSource": "second/out"}},
        "steps": {
            "first": {"run": "make.cwl", "in": {"word": "word"}, "out": ["tree"]},
            "second": {"run": "use.cwl", "in": {"tree": "first/tree"}, "out": ["out"]},
        },
    }
    make = TOOL | {"outputs": {"tree": {"type": "Directory", "outputBinding": {"glob": "."}}}}
    use = TOOL | {"inputs": {"tree": {"type": "Directory", "inputBinding": {}}}}
    documents = {"flow.cwl": flow, "make.cwl": make, "use.cwl": use}
    first = prepared(tmp_path, documents, {"word": "x"})
    host = FakeRunHost(first, settings, wrote({"out.txt": "x"}))
    done = await CwlEngine(settings).execute(first, host)
    assert done.state == State.COMPLETE, done

    second = prepared(tmp_path, documents, {"word": "x"}, name="run-2")
    theirs = {step.key: step for step in host.steps}
    other = FakeRunHost(second, settings, lambda step: wrote({"out.txt": "x"})(theirs[step.key]))
    other.files = FakeRunHost(second, settings, readable=[first.work_url]).files
    taken = await CwlEngine(settings).execute(second, other)
    assert taken.state == State.COMPLETE, taken
    assert [step.key for step in other.steps] == [step.key for step in host.steps]
    assert taken.outputs == done.outputs


@pytest.mark.parametrize(
    ("codes", "succeed"),
    [({}, {0}), ({"successCodes": [3]}, {0, 3}), ({"successCodes": [3], "permanentFailCodes": [0]}, {3})],
)
async def test_which_exit_codes_let_a_step_be_taken_over(
    codes: dict[str, list[int]], succeed: set[int], settings: Settings, tmp_path: Path
) -> None:
    run = prepared(tmp_path, {"tool.cwl": TOOL | codes}, {"word": "x"})
    host = FakeRunHost(run, settings)
    await CwlEngine(settings).execute(run, host)
    assert [set(step.success_codes) for step in host.steps] == [succeed]


async def test_why_a_run_failed(settings: Settings, tmp_path: Path) -> None:
    run = prepared(tmp_path, {"tool.cwl": TOOL}, {"word": "x"})
    host = FakeRunHost(run, settings)
    outcome = await CwlEngine(settings).execute(run, host)
    assert (outcome.state, outcome.exit_code) == (State.EXECUTOR_ERROR, 1)
    assert "step tool.cwl (task task-1) ended with exit code 1" in outcome.reason
    assert "it went wrong" in outcome.reason
    assert outcome.reason in host.logs["stderr"].decode()


@pytest.mark.parametrize("on_error", ["stop", "continue"])
async def test_what_runs_may_end_when_a_step_has_failed(
    on_error: str, settings: Settings, tmp_path: Path
) -> None:
    flow = {
        "cwlVersion": "v1.2",
        "class": "Workflow",
        "requirements": {"StepInputExpressionRequirement": {}},
        "inputs": {},
        "outputs": {"out": {"type": "File", "outputSource": "after/out"}},
        "steps": {
            "bad": {"run": "tool.cwl", "in": {"word": {"default": "bad"}}, "out": []},
            "good": {"run": "tool.cwl", "in": {"word": {"default": "good"}}, "out": ["out"]},
            "after": {"run": "after.cwl", "in": {"file": "good/out"}, "out": ["out"]},
        },
    }
    after = TOOL | {"baseCommand": "cat", "inputs": {"file": {"type": "File", "inputBinding": {}}}}
    documents = {"flow.cwl": flow, "tool.cwl": TOOL, "after.cwl": after}
    run = prepared(tmp_path, documents, {}, engine_parameters={"on_error": on_error})
    bad_ended, ended = asyncio.Event(), []

    def end(step: Step) -> StepEnd:
        ended.append(step.name)
        if step.name == "bad":
            return StepEnd("task-bad", State.EXECUTOR_ERROR, {"logs": [{"exit_code": 3}]})
        return wrote({"out.txt": "x"})(step)  # type: ignore[no-any-return]

    host = FakeRunHost(run, settings, end)
    wait = host.wait

    async def waited(task_id: str) -> StepEnd:
        step = next(one for one in host.steps if one.key == task_id)
        if step.name == "bad":
            bad_ended.set()
        else:
            await bad_ended.wait()
            await asyncio.sleep(0.5)
        return await wait(task_id)

    host.wait = waited  # type: ignore[method-assign]
    outcome = await CwlEngine(settings).execute(run, host)
    assert outcome.state == State.EXECUTOR_ERROR
    assert ended == (["bad", "good"] if on_error == "stop" else ["bad", "good", "after"])


async def test_a_task_that_the_site_failed_is_no_fault_of_the_workflow(
    settings: Settings, tmp_path: Path
) -> None:
    run = prepared(tmp_path, {"tool.cwl": TOOL}, {"word": "x"})
    end = StepEnd("task-1", State.SYSTEM_ERROR, {"system_logs": ["one", "the image is not there"]})
    outcome = await CwlEngine(settings).execute(run, FakeRunHost(run, settings, lambda _: end))
    assert (outcome.state, outcome.exit_code) == (State.SYSTEM_ERROR, None)
    assert "ended SYSTEM_ERROR: the image is not there" in outcome.reason


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InvalidRequest([Fault("resources", "too much")]), "step tool.cwl was refused: resources: too much"),
        (RunCanceled("run-1"), "the run was canceled"),
    ],
)
async def test_what_the_host_refuses(
    error: Exception, expected: str, settings: Settings, tmp_path: Path
) -> None:
    run = prepared(tmp_path, {"tool.cwl": TOOL}, {"word": "x"})
    host = FakeRunHost(run, settings)

    async def refuse(_: Step) -> str:
        raise error

    host.submit = refuse  # type: ignore[method-assign, assignment]
    outcome = await CwlEngine(settings).execute(run, host)
    assert outcome.reason == expected
    is_canceled = isinstance(error, RunCanceled)
    assert outcome.state == (State.CANCELED if is_canceled else State.EXECUTOR_ERROR)


async def test_a_store_that_is_away_is_the_callers_business(settings: Settings, tmp_path: Path) -> None:
    run = prepared(tmp_path, {"tool.cwl": TOOL}, {"word": "x"})
    host = FakeRunHost(run, settings)

    async def away(_: Step) -> str:
        raise StoreUnavailable("away")

    host.submit = away  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreUnavailable):
        await CwlEngine(settings).execute(run, host)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"on_error": "ignore"}, "on_error must be one of stop, continue"),
        ({"eval_timeout_s": "soon"}, "eval_timeout_s must be a number"),
    ],
)
async def test_engine_parameters_that_do_not_fit(
    parameters: Mapping[str, str], said: str, settings: Settings, tmp_path: Path
) -> None:
    run = prepared(tmp_path, {"tool.cwl": TOOL}, {"word": "x"}, engine_parameters=parameters)
    outcome = await CwlEngine(settings).execute(run, FakeRunHost(run, settings))
    assert (outcome.state, outcome.exit_code) == (State.EXECUTOR_ERROR, 1)
    assert said in outcome.reason


async def test_params_of_a_wrong_form(settings: Settings, tmp_path: Path) -> None:
    tool = TOOL | {"inputs": {"any": "Any"}}
    params = {"any": [{"class": "Directory", "basename": "d", "listing": ["abc"]}]}
    host = FakeRunHost(run := prepared(tmp_path, {"tool.cwl": tool}, params), settings)
    outcome = await CwlEngine(settings).execute(run, host)
    assert outcome.state == State.EXECUTOR_ERROR
    assert outcome.reason.startswith("workflow_params.any[0].listing[0]: must be an object")


async def test_an_endless_expression_ends(settings: Settings, tmp_path: Path) -> None:
    tool = {
        "cwlVersion": "v1.2",
        "class": "ExpressionTool",
        "requirements": {"InlineJavascriptRequirement": {}},
        "inputs": {},
        "outputs": {},
        "expression": "${ while (true) {} }",
    }
    run = prepared(tmp_path, {"tool.cwl": tool}, {}, engine_parameters={"eval_timeout_s": "5"})
    outcome = await asyncio.wait_for(CwlEngine(settings).execute(run, FakeRunHost(run, settings)), 60)
    assert outcome.state == State.EXECUTOR_ERROR, outcome.reason


async def test_an_engine_that_is_not_installed(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "wes": {"engines_dir": tmp_path / "none"}})
    run = prepared(tmp_path, {"tool.cwl": TOOL}, {"word": "x"})
    engine = CwlEngine(settings)
    assert await engine.version() is None
    assert "`tesp engine install cwl`" in engine.fault
    with pytest.raises(EngineUnusable, match="`tesp engine install cwl`"):
        await engine.execute(run, FakeRunHost(run, settings))


async def test_a_process_is_kept_ready(settings: Settings, tmp_path: Path) -> None:
    engine, before = CwlEngine(settings), set(psutil.Process().children(recursive=True))
    await engine.open()
    try:
        spare = await children_beside(before)
        run = prepared(tmp_path, {"tool.cwl": TOOL}, {"word": "x"})
        during: set[psutil.Process] = set()

        def end(step: Step) -> StepEnd:
            during.update(psutil.Process().children(recursive=True))
            return wrote({"out.txt": "x"})(step)  # type: ignore[no-any-return]

        outcome = await engine.execute(run, FakeRunHost(run, settings, end))
        assert outcome.state == State.COMPLETE, outcome
        assert spare <= during, "another process than the one that was ready has expanded the run"
        assert not psutil.wait_procs(spare, timeout=10)[1]
        following = await children_beside(before)
        assert not following & spare
    finally:
        await engine.aclose()
    assert not psutil.wait_procs(following, timeout=10)[1]


async def children_beside(before: set[psutil.Process]) -> set[psutil.Process]:
    """New processes of this one, once there are any and they stay the same."""
    found: set[psutil.Process] = set()
    for _ in range(200):
        await asyncio.sleep(0.1)
        now = set(psutil.Process().children(recursive=True)) - before
        if now and now == found:
            return now
        found = now
    raise AssertionError("no process is kept ready")
