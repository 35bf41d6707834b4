"""The gateway between a file server and a Pulsar whose workers the test plays."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tesp_api.bell import Bell
from tesp_api.errors import PulsarUnavailable
from tesp_api.runner import gateway, gateway_events, gateway_outputs, spool
from tesp_api.runner.gateway import Gateway
from tesp_api.runner.scheduler import Scheduler
from tesp_api.settings import Settings
from tesp_api.store.base import Task
from tesp_api.store.sqlite import SqliteTaskStore
from tesp_api.tes.states import FINAL, State
from tesp_api.worker import progress
from tests.factories import make_task
from tests.fakes.lender import LendsNothing
from tests.fakes.pulsar import FakePulsar
from tests.fakes.site import FakeWorker
from tests.services.file_server import FileServer
from tests.services.gated_http import GatedHttp
from tests.unit.runner.attempts import until_true

pytestmark = pytest.mark.services

HTTP = "http://127.0.0.1:9"


def settings_of(folder: Path, **transfers: Any) -> Settings:
    return Settings.model_validate(
        {
            "data_dir": folder,
            "destinations": {"site": {"staging": "gateway", "gateway_max_bytes": 1_000_000}},
            "scheduler": {"scan_s": 0.05, "poll_min_s": 0.005, "poll_max_s": 0.05, "heartbeat_s": 0.05},
            "transfers": {"pause_s": 0.01, "local_networks": ["127.0.0.0/8"], **transfers},
        }
    )


class Stage:
    """A server with a gateway, in parts; `settings` may be exchanged before `start`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = settings_of(folder)
        self.store = SqliteTaskStore(folder)
        self.pulsar = FakePulsar("site")
        self.bell = Bell()

    async def start(self) -> None:
        gateway = Gateway(self.settings)
        transports = {"site": self.pulsar}
        self.scheduler = Scheduler(self.store, transports, self.settings, self.bell, LendsNothing(), gateway)
        await self.scheduler.start()

    async def submit(self, **changes: Any) -> str:
        task = make_task(**changes)
        await self.store.create(task)
        self.bell.ring(task.id)
        return task.id

    async def worker(self, task_id: str) -> FakeWorker:
        """The worker of the task's job, started once that has been launched."""
        await until(lambda: f"{task_id}-1" in self.pulsar.launches)
        worker = FakeWorker(self.pulsar, f"{task_id}-1")
        worker.start()
        worker.run_executor()
        return worker

    async def ended(self, task_id: str) -> Task:
        """The task once nothing is left to do for it, in the store and in the spool."""
        async with asyncio.timeout(20):
            while (task := await self.store.get(task_id)).live or task.state not in FINAL:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert [*(self.folder / "gateway").rglob("*")] == []
        return task


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for is in a fake
            await asyncio.sleep(0.005)


def why(task: Task) -> str:
    """The last line of the system logs."""
    return str(task.logs[-1]["system_logs"][-1])


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(gateway, "_PAUSES_S", (0.01, 0.01))
    stage = Stage(tmp_path)
    await stage.store.open()
    yield stage
    await stage.scheduler.stop()
    await stage.store.aclose()


@pytest.fixture
def files() -> Iterator[FileServer]:
    with FileServer() as files:
        yield files


def methods(files: FileServer, path: str) -> list[str]:
    return [method for method, asked, _ in files.requests if asked == path]


# inputs


async def test_inputs_are_in_the_job_before_it_is_launched(stage: Stage, files: FileServer) -> None:
    files.files["/a?key=hush"] = b"content"
    await stage.start()
    inputs = [
        {"path": "/site", "url": "file:///data/site"},
        {"path": "/here", "content": "here"},
        {"path": "/a", "url": f"{files.url}/a?key=hush"},
    ]
    task_id = await stage.submit(inputs=inputs)
    worker = await stage.worker(task_id)
    job = stage.pulsar.jobs[worker.job_id]
    (entry,) = json.loads(job.files["inputs.json"])["inputs"].pop("2")
    assert job.inputs == {entry["file"]: b"content"}
    assert (entry["name"], entry["size_bytes"]) == ("", 7)
    assert entry["sha256"] == hashlib.sha256(b"content").hexdigest()
    order = json.loads(job.order.task_json)
    assert order["site"]["staging"] == "gateway"
    assert order["inputs"][:2] == inputs[:2]
    assert b"hush" not in job.order.task_json
    worker.finish()
    assert (await stage.ended(task_id)).state is State.COMPLETE


async def test_a_job_that_has_its_inputs_gets_them_once(stage: Stage, files: FileServer) -> None:
    files.files["/a"] = b"content"
    stage.pulsar.fail_next("launch", PulsarUnavailable("away"))
    await stage.start()
    task_id = await stage.submit(inputs=[{"path": "/a", "url": f"{files.url}/a"}])
    (await stage.worker(task_id)).finish()
    assert (await stage.ended(task_id)).state is State.COMPLETE
    assert methods(files, "/a") == ["GET"]


async def test_a_pulsar_that_is_away_for_a_moment_costs_no_second_download(
    stage: Stage, files: FileServer
) -> None:
    files.files["/a"] = b"content"
    for _ in range(2):
        stage.pulsar.fail_next("place_file", PulsarUnavailable("away"))
    await stage.start()
    task_id = await stage.submit(inputs=[{"path": "/a", "url": f"{files.url}/a"}])
    (await stage.worker(task_id)).finish()
    await stage.ended(task_id)
    assert methods(files, "/a") == ["GET"]


async def test_the_rules_for_transfers_hold_for_the_gateway(stage: Stage, files: FileServer) -> None:
    stage.settings = settings_of(stage.folder, local_networks=[])
    await stage.start()
    task = await stage.ended(await stage.submit(inputs=[{"path": "/a", "url": f"{files.url}/a"}]))
    assert task.state is State.SYSTEM_ERROR
    assert "loopback" in why(task)
    assert (stage.pulsar.jobs, files.requests) == ({}, [])


async def test_a_full_disk_ends_the_task_before_the_download(
    stage: Stage, files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SPARE_BYTES", 2**60)
    files.files["/a"] = b"content"
    await stage.start()
    task = await stage.ended(await stage.submit(inputs=[{"path": "/a", "url": f"{files.url}/a"}]))
    assert task.state is State.SYSTEM_ERROR
    assert "do not fit on the disk of the gateway" in why(task)


async def test_what_a_killed_server_left_in_the_spool_goes(stage: Stage) -> None:
    left = stage.folder / "gateway" / "some-job" / "0"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"left")
    await stage.start()
    assert not left.exists()


# outputs

OUTPUTS = [
    {"path": "/out/a", "url": "{url}/a?key=hush"},
    {"path": "/out/tree", "url": "{url}/tree/", "type": "DIRECTORY"},
    {"path": "/out/site", "url": "file:///data/site"},
]


def outputs_to(files: FileServer) -> list[dict[str, str]]:
    return [{**output, "url": output["url"].format(url=files.url)} for output in OUTPUTS]


async def test_what_the_worker_left_is_sent_to_the_urls_of_the_task(stage: Stage, files: FileServer) -> None:
    await stage.start()
    task_id = await stage.submit(outputs=outputs_to(files))
    worker = await stage.worker(task_id)
    left = [
        {"output": 0, "below": "", "path": "/out/a", **worker.leave(1, b"first")},
        {"output": 1, "below": "/x%20y/b", "path": "/out/tree/x y/b", **worker.leave(2, b"")},
        {"output": 1, "below": "/empty", "path": "/out/tree/empty", "file": None},
    ]
    worker.finish(left=left)
    task = await stage.ended(task_id)
    assert task.state is State.COMPLETE
    assert files.files == {"/a?key=hush": b"first", "/tree/x%20y/b": b""}
    assert sorted(task.logs[0]["outputs"], key=lambda one: one["path"]) == [
        {"url": f"{files.url}/a", "path": "/out/a", "size_bytes": "5"},
        {"url": f"{files.url}/tree/x%20y/b", "path": "/out/tree/x y/b", "size_bytes": "0"},
    ]
    assert b"hush" not in json.dumps(task.logs).encode()


async def test_what_was_sent_is_not_sent_again(
    stage: Stage, files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_outputs, "_STORE_EVERY_S", 0.0)
    stage.settings = settings_of(stage.folder, at_once=1)
    await stage.start()
    task_id = await stage.submit(outputs=outputs_to(files))
    worker = await stage.worker(task_id)
    left = [
        {"output": 1, "below": f"/{number}", "path": f"/out/tree/{number}", **worker.leave(number, b"x")}
        for number in range(2)
    ]
    fetches = 0
    fetch_file = stage.pulsar.fetch_file

    async def fetch_and_fail(job_id: str, name: str, sink: Any) -> bool:
        nonlocal fetches
        fetches += 1
        if 2 <= fetches <= 4:  # as often as the gateway insists
            raise PulsarUnavailable("away")
        return await fetch_file(job_id, name, sink)

    monkeypatch.setattr(stage.pulsar, "fetch_file", fetch_and_fail)
    worker.finish(left=left)
    task = await stage.ended(task_id)
    assert task.state is State.COMPLETE
    assert len(task.logs[0]["outputs"]) == 2
    assert [methods(files, f"/tree/{number}").count("PUT") for number in range(2)] == [1, 1]


async def test_how_far_transfers_are_is_told_in_both_directions(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.02)
    monkeypatch.setattr(gateway_events, "_EVERY_S", 0.02)

    async def told(task_id: str) -> list[dict[str, Any]]:
        part = await stage.store.read_log(task_id, 1, 0, "gateway", offset=0, limit=2**20)
        return [json.loads(line) for line in part.data.splitlines()]

    async def is_told(least: int, direction: str = "input") -> bool:
        return [event["direction"] for event in await told(task_id)].count(direction) >= least

    content = b"x" * 700_000
    with GatedHttp() as coming, GatedHttp() as going:
        coming.files["/in?key=hush"] = content
        coming.trickled.add("/in?key=hush")
        going.held |= {"/tree/0", "/tree/1"}
        await stage.start()
        task_id = await stage.submit(
            inputs=[{"path": "/in", "url": f"{coming.url}/in?key=hush"}],
            outputs=[{"path": "/out", "url": f"{going.url}/tree", "type": "DIRECTORY"}],
        )
        await until_true(lambda: is_told(2))
        coming.open_gate()
        worker = await stage.worker(task_id)
        left = [
            {"output": 0, "below": f"/{number}", "path": f"/out/{number}", **worker.leave(number, b"12345")}
            for number in range(2)
        ]
        worker.finish(left=left)
        await until_true(lambda: is_told(1, "output"))
        going.open_gate()
        assert (await stage.ended(task_id)).state is State.COMPLETE
    events = await told(task_id)
    inputs = [event for event in events if event["direction"] == "input"]
    assert {(event["url"], event["path"]) for event in inputs} == {(f"{coming.url}/in", "/in")}
    assert inputs[0]["done_bytes"] < inputs[-1]["done_bytes"] == inputs[-1]["total_bytes"] == len(content)
    last = events[-1]
    assert (last["url"], last["path"]) == (f"{going.url}/tree", "/out")
    assert (last["done_bytes"], last["files_done"], last["files_total"]) == (10, 2, 2)
    assert [event["ended"] for event in (inputs[0], inputs[-1], last)] == [False, True, True]


@pytest.mark.parametrize(
    "entry",
    [
        {"output": 3},
        {"output": -1},
        {"output": 2},  # a file of the site
        {"output": "0"},
        {"below": "/../elsewhere"},
        {"below": "/%2e%2e/elsewhere"},
        {"below": "/a%2Fb"},
        {"below": "@other.example.org/"},
        {"below": "/a?b"},
        {"file": "../../heartbeat"},
        {"file": ""},
        {"size_bytes": None},
        {"size_bytes": -1},
    ],
)
async def test_a_site_cannot_choose_where_outputs_go(
    stage: Stage, files: FileServer, entry: dict[str, Any]
) -> None:
    await stage.start()
    task_id = await stage.submit(outputs=outputs_to(files))
    worker = await stage.worker(task_id)
    sound = {"output": 0, "below": "", "path": "/out/a", **worker.leave(1, b"first")}
    worker.finish(left=[{**sound, **entry}])
    task = await stage.ended(task_id)
    assert (task.state, files.requests) == (State.SYSTEM_ERROR, [])
    assert "not declared" in why(task)


@pytest.mark.parametrize("arrived", [b"firsT", b"firs", b"first!", None])
async def test_an_output_that_comes_out_changed_is_not_sent(
    stage: Stage, files: FileServer, arrived: bytes | None
) -> None:
    await stage.start()
    task_id = await stage.submit(outputs=outputs_to(files))
    worker = await stage.worker(task_id)
    left = [{"output": 0, "below": "", "path": "/out/a", **worker.leave(1, b"first")}]
    job = stage.pulsar.jobs[worker.job_id]
    if arrived is None:
        del job.files["out/000001"]
    else:
        job.files["out/000001"] = arrived
    worker.finish(left=left)
    task = await stage.ended(task_id)
    assert (task.state, files.requests) == (State.SYSTEM_ERROR, [])


async def test_a_stop_of_the_server_waits_for_no_transfer(stage: Stage, tmp_path: Path) -> None:
    silent = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    await stage.start()
    await stage.submit(inputs=[{"path": "/a", "url": f"http://127.0.0.1:{port}/a"}])
    await until(lambda: [*(tmp_path / "gateway").rglob("0")])
    async with asyncio.timeout(3):
        await stage.scheduler.stop()
    assert not [*(tmp_path / "gateway").rglob("*")]
    silent.close()
