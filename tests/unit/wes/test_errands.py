"""What an expander may ask for, which others may have taken over: it gets what the host gives, no more."""

import asyncio
import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tesp_api.errors import Fault, InvalidRequest, StoreUnavailable
from tesp_api.settings import Settings
from tesp_api.tes.states import State
from tesp_api.wes.engines.base import EngineRun, Step, StepEnd
from tesp_api.wes.engines.errands import Errands
from tests.fakes.run_host import FakeRunHost
from tests.services.plain_run_host import engine_run


@pytest.fixture
def run(tmp_path: Path) -> EngineRun:
    run = engine_run(tmp_path / "run-1", "x.cwl", {})
    (run.attachments / "d").mkdir()
    (run.attachments / "a b").write_text("text")
    (run.attachments / "d" / "x").write_text("x")
    return run


@pytest.fixture
def host(run: EngineRun, tmp_path: Path) -> FakeRunHost:
    return FakeRunHost(run, Settings(data_dir=tmp_path / "data"))


async def asked(run: EngineRun, host: FakeRunHost, **message: Any) -> Mapping[str, Any]:
    """The answer to one message."""
    answers: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
    async with Errands(run, host) as errands:
        await errands.start({"id": 7, **message}, answers.put)
        answer = await asyncio.wait_for(answers.get(), 10)
    assert answer["id"] == 7
    return answer


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"call": "execute"},
        {"call": "__init__"},
        {"call": ["read"]},
        {"call": "read"},
        {"call": "read", "url": 5, "offset": 0, "limit": 1},
        {"call": "read", "url": "file:///x", "offset": -1, "limit": 1},
        {"call": "read", "url": "file:///x", "offset": "many", "limit": 1},
        {"call": "read", "url": "file:///x", "offset": None, "limit": 1},
        {"call": "write", "url": "file:///x", "data": "?"},
        {"call": "run_step", "key": "k", "name": "n", "document": [], "success_codes": [0]},
        {"call": "run_step", "key": 1, "name": "n", "document": {}, "success_codes": [0]},
        {"call": "run_step", "key": "k", "name": "n", "document": {}},
        {"call": "run_step", "key": "k" * 201, "name": "n", "document": {}, "success_codes": [0]},
        {"call": "run_step", "key": "k", "name": "n", "document": {}, "success_codes": [0, "1"]},
        {
            "call": "run_step",
            "key": "k",
            "name": "n",
            "document": {},
            "success_codes": [0],
            "later_keys": "k",
        },
        {
            "call": "run_step",
            "key": "k",
            "name": "n",
            "document": {},
            "success_codes": [0],
            "later_keys": [""] * 11,
        },
        {"call": "stat", "url": "\x00"},
        {"call": "stat", "url": "file:///etc/passwd"},
        {"call": "list", "url": "/"},
    ],
)
async def test_what_makes_no_sense_is_refused(
    message: Mapping[str, Any], run: EngineRun, host: FakeRunHost
) -> None:
    answer = await asked(run, host, **message)
    assert answer["error"] == "refused"
    assert answer["message"]
    assert not host.steps


async def test_reading_is_cut_to_what_fits_into_an_answer(run: EngineRun, host: FakeRunHost) -> None:
    (run.attachments / "large").write_bytes(bytes(3 * 1024**2))
    url = f"{run.work_url}attachments/large"
    answer = await asked(run, host, call="read", url=url, offset=0, limit=10**12)
    assert len(base64.b64decode(answer["value"])) == 1024**2


async def test_what_is_written_has_a_limit(run: EngineRun, host: FakeRunHost) -> None:
    url = f"{run.work_url}large"
    data = base64.b64encode(bytes(16 * 1024**2 + 3)).decode()
    answer = await asked(run, host, call="write", url=url, data=data)
    assert answer["error"] == "refused"
    assert "at most 16777216 bytes" in answer["message"]
    data = base64.b64encode(bytes(16 * 1024**2)).decode()
    assert "value" in await asked(run, host, call="write", url=url, data=data)


@pytest.mark.parametrize(("call", "most"), [("stat", 4), ("run_step", 16)])
async def test_no_more_is_begun_than_has_a_place(
    call: str, most: int, run: EngineRun, host: FakeRunHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expander that was taken over asks without waiting for answers."""
    begun, may_go_on = 0, asyncio.Event()

    async def slowly(*_: Any) -> Any:
        nonlocal begun
        begun += 1
        await may_go_on.wait()
        raise InvalidRequest([Fault("url", "no")])

    monkeypatch.setattr(host, "submit", slowly)
    monkeypatch.setattr(host.files, "stat", slowly)
    answers: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
    step = {"key": "k", "name": "n", "document": {}, "success_codes": [0]}
    message = {"call": call, "url": run.work_url, **step}
    async with Errands(run, host) as errands:
        for _ in range(most):
            await asyncio.wait_for(errands.start(dict(message), answers.put), 10)
        further = asyncio.create_task(errands.start(dict(message), answers.put))
        done, _ = await asyncio.wait({further}, timeout=0.2)
        assert not done
        assert begun == most
        may_go_on.set()
        await asyncio.wait_for(further, 10)
        for _ in range(most + 1):
            assert (await asyncio.wait_for(answers.get(), 10))["error"] == "refused"


async def test_steps_that_run_keep_no_place(
    run: EngineRun, host: FakeRunHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = 0

    async def submit(step: Step) -> str:
        nonlocal submitted
        submitted += 1
        return step.key

    async def never(_: str) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(host, "submit", submit)
    monkeypatch.setattr(host, "wait", never)
    answers: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
    async with Errands(run, host) as errands:
        for number in range(100):
            step = {"key": f"k-{number}", "name": "n", "document": {}, "success_codes": [0]}
            message = {"call": "run_step", **step}
            await asyncio.wait_for(errands.start(message, answers.put), 10)
        await errands.start({"id": 7, "call": "stat", "url": run.work_url}, answers.put)
        assert (await asyncio.wait_for(answers.get(), 10))["id"] == 7
        assert submitted == 100
        for number in range(5):
            step = {"key": "k-0", "name": "n", "document": {}, "success_codes": [0]}
            await errands.start({"id": number, "call": "run_step", **step}, answers.put)
        refused = [await asyncio.wait_for(answers.get(), 10) for _ in range(2)]
        assert [one["message"] for one in refused] == [
            "the call is malformed: the step is waited for already"
        ] * 2


async def test_what_is_missing_is_told_from_what_is_refused(run: EngineRun, host: FakeRunHost) -> None:
    url = f"{run.work_url}attachments/none"
    assert (await asked(run, host, call="stat", url=url))["error"] == "missing"


async def test_a_fingerprint_changes_with_the_content(run: EngineRun, host: FakeRunHost) -> None:
    async def fingerprint(name: str) -> str:
        answer = await asked(run, host, call="fingerprint", url=f"{run.work_url}attachments/{name}")
        return str(answer["value"])

    file, tree = await fingerprint("a%20b"), await fingerprint("d/")
    assert file and tree
    (run.attachments / "a b").write_text("other")
    (run.attachments / "d" / "y").write_text("")
    assert await fingerprint("a%20b") != file
    assert await fingerprint("d/") != tree


@pytest.mark.parametrize(
    "name", ["../own/secret", "%2e%2e/own/secret", "d/../../own/secret", "link", "/etc/passwd"]
)
async def test_a_fingerprint_is_of_attachments_alone(
    name: str, run: EngineRun, host: FakeRunHost, tmp_path: Path
) -> None:
    (run.work_dir / "secret").write_text("hush")
    (run.attachments / "link").symlink_to(run.work_dir / "secret")
    answer = await asked(run, host, call="fingerprint", url=f"{run.work_url}attachments/{name}")
    assert answer.get("value") == "" or answer.get("error") == "missing"
    for url in (run.work_url, f"{run.work_url}attachmentsX/x", "s3://lab/x", "file:///etc/passwd"):
        assert (await asked(run, host, call="fingerprint", url=url))["value"] == ""


async def test_logs_keep_their_order_and_are_written_before_the_end(
    run: EngineRun, host: FakeRunHost
) -> None:
    async def nobody(_: Mapping[str, Any]) -> None:
        raise AssertionError("a log line has no answer")

    async with Errands(run, host) as errands:
        for number in range(300):
            await errands.start({"call": "log", "name": "stderr", "text": f"{number}\n"}, nobody)
            if number % 50 == 0:
                await errands.start({"call": "log", "name": "stdout", "text": f"out {number}\n"}, nobody)
        await errands.finish_log()
    assert host.logs["stderr"].decode().split() == [str(number) for number in range(300)]
    assert host.logs["stdout"].decode().split("\n")[:2] == ["out 0", "out 50"]


async def test_a_log_that_cannot_be_written_ends_the_run_and_blocks_nothing(
    run: EngineRun, host: FakeRunHost
) -> None:
    async def away(*_: Any) -> None:
        raise StoreUnavailable("away")

    host.log = away  # type: ignore[method-assign, assignment]
    async with Errands(run, host) as errands:
        for _ in range(500):
            message = {"call": "log", "name": "stderr", "text": "x"}
            await asyncio.wait_for(errands.start(message, lambda _: away()), 10)
        await asyncio.wait_for(errands.finish_log(), 10)
        with pytest.raises(StoreUnavailable):
            await errands.failed


async def test_a_step_is_answered_when_it_has_ended(run: EngineRun, host: FakeRunHost) -> None:
    def end(step: Step) -> StepEnd:
        return StepEnd("task-9", State.COMPLETE, {"logs": []}, {"name": step.name}, "run-0")

    host = FakeRunHost(run, Settings(data_dir=run.work_dir), end)
    asks = {"key": "k-0", "name": "n" * 999, "document": {"executors": []}, "success_codes": [0, 3]}
    answer = await asked(run, host, call="run_step", **asks)
    assert host.steps[0].success_codes == {0, 3}
    assert answer["value"] == {
        "task_id": "task-9",
        "state": "COMPLETE",
        "log": {"logs": []},
        "document": {"name": "n" * 200},
        "reused_from": "run-0",
    }


async def test_what_the_machine_does_not_read_is_refused_and_ends_nothing(
    run: EngineRun, host: FakeRunHost
) -> None:
    answer = await asked(run, host, call="fingerprint", url=f"{run.work_url}attachments/{'x' * 300}")
    assert answer["error"] == "refused"
    assert "File name too long" in answer["message"]
