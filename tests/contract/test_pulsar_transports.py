"""The contract of `PulsarTransport`, run on every implementation, against real Pulsars."""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tesp_api.errors import PulsarRefused
from tesp_api.pulsar.base import JobState, PulsarTransport
from tesp_api.pulsar.job_files import worker_command
from tests.contract.pulsar_sites import (
    AmqpSite,
    EmbeddedSite,
    RestSite,
    Site,
    eventually,
    is_running,
    started_pid,
)
from tests.contract.tiny_worker import tiny_order
from tests.fakes.pulsar import FakePulsar
from tests.services.pulsar_amqp import AmqpStockPulsar
from tests.services.pulsar_rest import StockPulsar
from tests.services.rabbitmq import RabbitMQ

REAL = ["embedded", *(pytest.param(kind, marks=pytest.mark.services) for kind in ("rest", "amqp"))]


@pytest.fixture(scope="module")
def stock_pulsar() -> Iterator[StockPulsar]:
    with StockPulsar() as pulsar:
        yield pulsar


@pytest.fixture(scope="module")
def amqp_pulsar() -> Iterator[tuple[RabbitMQ, AmqpStockPulsar]]:
    with RabbitMQ() as broker, AmqpStockPulsar(broker) as pulsar:
        yield broker, pulsar


@pytest.fixture(params=REAL)
async def site(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    kind: EmbeddedSite | RestSite | AmqpSite
    if request.param == "embedded":
        # a folder with a space gets a link in the temporary folder, which has to go with the test
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        kind = EmbeddedSite(tmp_path / "a folder")
    elif request.param == "amqp":
        kind = AmqpSite(*request.getfixturevalue("amqp_pulsar"))
    else:
        kind = RestSite(request.getfixturevalue("stock_pulsar"))
    await kind.transport.open()
    yield kind
    await kind.aclose()


@pytest.fixture(params=["fake", *REAL])
async def transport(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[PulsarTransport]:
    if request.param == "fake":
        yield FakePulsar()
        return
    kind: EmbeddedSite | RestSite | AmqpSite
    if request.param == "embedded":
        kind = EmbeddedSite(tmp_path)
    elif request.param == "amqp":
        kind = AmqpSite(*request.getfixturevalue("amqp_pulsar"))
    else:
        kind = RestSite(request.getfixturevalue("stock_pulsar"))
    await kind.transport.open()
    yield kind.transport
    await kind.aclose()


@pytest.fixture
def job_id() -> str:
    return f"task-{uuid4()}-1"


async def result_of(transport: PulsarTransport, job_id: str) -> bytes:
    async def result() -> bytes | None:
        return await transport.read_file(job_id, "result.json")

    return await eventually(result)


async def has_state(transport: PulsarTransport, job_id: str, state: JobState) -> bool:
    return (await transport.status(job_id)).state is state


# every implementation, the fake included


async def test_a_healthy_pulsar_passes_the_check(transport: PulsarTransport) -> None:
    await transport.check()


async def test_an_unknown_job_is_unknown_and_has_no_files(transport: PulsarTransport, job_id: str) -> None:
    assert (await transport.status(job_id)).state is JobState.UNKNOWN
    assert await transport.read_file(job_id, "result.json") is None


async def test_cancel_and_clean_of_an_unknown_job_are_harmless(
    transport: PulsarTransport, job_id: str
) -> None:
    await transport.cancel(job_id)
    await transport.clean(job_id)
    assert (await transport.status(job_id)).state is JobState.UNKNOWN


async def test_a_file_cannot_be_written_for_an_unknown_job(transport: PulsarTransport, job_id: str) -> None:
    with pytest.raises(PulsarRefused):
        await transport.write_file(job_id, "cancel", b"")
    assert (await transport.status(job_id)).state is JobState.UNKNOWN


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "logs/../../../x", "", ".", "a//b", "./a", "a\0b"])
async def test_names_that_leave_the_folder_are_refused(
    transport: PulsarTransport, job_id: str, name: str
) -> None:
    await transport.launch(tiny_order(job_id))
    with pytest.raises(PulsarRefused):
        await transport.read_file(job_id, name)
    with pytest.raises(PulsarRefused):
        await transport.write_file(job_id, name, b"")


@pytest.mark.parametrize("bad_id", ["../x", "", "a b", "a/b", "a;b", "$(id)", "é"])
async def test_odd_job_ids_are_refused(transport: PulsarTransport, bad_id: str) -> None:
    with pytest.raises(PulsarRefused):
        await transport.launch(tiny_order(bad_id))
    with pytest.raises(PulsarRefused):
        await transport.status(bad_id)
    with pytest.raises(PulsarRefused):
        await transport.clean(bad_id)


async def test_a_written_file_is_read_back(transport: PulsarTransport, job_id: str) -> None:
    await transport.launch(tiny_order(job_id, until="go"))
    assert await transport.read_file(job_id, "logs/0.stdout.000000") is None
    for data in (b"\x00\xff first", b"", b"x" * 300_000):
        await transport.write_file(job_id, "logs/0.stdout.000000", data)
        assert await transport.read_file(job_id, "logs/0.stdout.000000") == data


async def test_clean_forgets_the_job_and_may_be_repeated(transport: PulsarTransport, job_id: str) -> None:
    await transport.launch(tiny_order(job_id, until="go"))
    await transport.cancel(job_id)
    await transport.clean(job_id)
    await transport.clean(job_id)
    assert (await transport.status(job_id)).state is JobState.UNKNOWN
    assert await transport.read_file(job_id, "started") is None


async def test_waiting_ends_with_the_time(transport: PulsarTransport, job_id: str) -> None:
    await transport.launch(tiny_order(job_id, until="go"))
    begun = time.monotonic()
    while time.monotonic() - begun < 0.3:  # it may return early, never late
        await transport.wait_for_news(job_id, 0.1)
    assert time.monotonic() - begun < 3


async def test_waiting_for_an_unknown_job_ends_with_the_time(transport: PulsarTransport, job_id: str) -> None:
    async with asyncio.timeout(3):
        await transport.wait_for_news(job_id, 0.1)


# real Pulsars only: here a worker runs


async def test_a_job_runs_once_and_its_files_are_readable_meanwhile(site: Site, job_id: str) -> None:
    transport = site.transport
    await transport.launch(tiny_order(job_id, until="go", files={"heartbeat": "1"}))
    pid = await started_pid(transport, job_id)
    assert is_running(pid)
    await eventually(lambda: transport.read_file(job_id, "heartbeat"))
    assert await has_state(transport, job_id, JobState.RUNNING)
    assert await transport.read_file(job_id, "result.json") is None

    await transport.write_file(job_id, "go", b"")

    assert b"COMPLETE" in await result_of(transport, job_id)
    await eventually(lambda: has_state(transport, job_id, JobState.ENDED))
    assert await transport.read_file(job_id, "runs") == b"run\n"


async def test_a_job_launched_again_while_it_runs_runs_once(site: Site, job_id: str) -> None:
    transport = site.transport
    order = tiny_order(job_id, until="go")
    await transport.launch(order)
    await transport.launch(order)
    await started_pid(transport, job_id)
    await transport.launch(order)
    await transport.write_file(job_id, "go", b"")
    await result_of(transport, job_id)
    await eventually(lambda: has_state(transport, job_id, JobState.ENDED))

    await transport.launch(order)

    assert await transport.read_file(job_id, "runs") == b"run\n"


async def test_a_second_worker_in_the_same_directory_exits(site: Site, job_id: str) -> None:
    transport = site.transport
    order = tiny_order(job_id)
    await transport.launch(order)
    await result_of(transport, job_id)
    await eventually(lambda: has_state(transport, job_id, JobState.ENDED))
    runs_again = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", worker_command(sys.executable), cwd=site.staging / job_id / "working"
    )
    assert await runs_again.wait() == 0
    assert await transport.read_file(job_id, "starts") == b"start\nstart\n"
    assert await transport.read_file(job_id, "runs") == b"run\n"


async def test_cancel_kills_the_worker_and_its_children(site: Site, job_id: str) -> None:
    transport = site.transport
    await transport.launch(tiny_order(job_id, until="never", child=True))
    pid = await started_pid(transport, job_id)
    child = int(await eventually(lambda: transport.read_file(job_id, "child")))

    await transport.cancel(job_id)

    await eventually(lambda: asyncio.to_thread(lambda: not is_running(pid) and not is_running(child)))
    await eventually(lambda: has_state(transport, job_id, JobState.ENDED))
    assert await transport.read_file(job_id, "result.json") is None


async def test_cancel_of_an_ended_job_is_harmless(site: Site, job_id: str) -> None:
    transport = site.transport
    await transport.launch(tiny_order(job_id))
    result = await result_of(transport, job_id)
    await transport.cancel(job_id)
    assert await transport.read_file(job_id, "result.json") == result


async def test_clean_leaves_nothing_on_disk(site: Site, job_id: str) -> None:
    transport = site.transport
    await transport.launch(tiny_order(job_id))
    await result_of(transport, job_id)
    await eventually(lambda: has_state(transport, job_id, JobState.ENDED))

    await transport.clean(job_id)

    assert [str(path) for path in site.staging.parent.rglob("*") if job_id in path.name] == []


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_job_survives_kill_9_of_its_host(site: Site, job_id: str, cancelled: bool) -> None:
    await site.launch_and_kill_host(tiny_order(job_id, until="go"))
    transport = site.transport
    pid = await started_pid(transport, job_id)
    assert is_running(pid)
    status = await transport.status(job_id)
    assert status.state is JobState.RUNNING or not status.certain

    if cancelled:
        await transport.cancel(job_id)
    else:
        await transport.write_file(job_id, "go", b"")
        assert b"COMPLETE" in await result_of(transport, job_id)

    await eventually(lambda: asyncio.to_thread(lambda: not is_running(pid)))
    status = await transport.status(job_id)
    assert status.state is JobState.ENDED or not status.certain
    assert await transport.read_file(job_id, "runs") == b"run\n"
    await transport.clean(job_id)
    assert not (site.staging / job_id).exists()


# files of any size: what the gateway moves, where more than messages can be sent

OF_FILES = ["embedded", pytest.param("rest", marks=pytest.mark.services)]
carriers = pytest.mark.parametrize("transport", ["fake", *OF_FILES], indirect=True)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "a b", "/etc/passwd"])
@carriers
async def test_odd_names_of_inputs_are_refused(
    transport: PulsarTransport, job_id: str, tmp_path: Path, name: str
) -> None:
    (tmp_path / "source").write_bytes(b"x")
    await transport.set_up(job_id)
    with pytest.raises(PulsarRefused):
        await transport.place_file(job_id, name, tmp_path / "source")


@carriers
async def test_an_input_needs_a_job_that_is_set_up(
    transport: PulsarTransport, job_id: str, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"x")
    with pytest.raises(PulsarRefused):
        await transport.place_file(job_id, "1", tmp_path / "source")
    assert (await transport.status(job_id)).state is JobState.UNKNOWN


@carriers
async def test_a_job_that_is_set_up_waits_and_can_be_cleaned(transport: PulsarTransport, job_id: str) -> None:
    await transport.set_up(job_id)
    await transport.write_file(job_id, "inputs.json", b"{}")
    await transport.set_up(job_id)
    assert await has_state(transport, job_id, JobState.PENDING)
    assert await transport.read_file(job_id, "inputs.json") == b"{}"
    await transport.clean(job_id)
    assert await has_state(transport, job_id, JobState.UNKNOWN)


@carriers
async def test_a_file_is_fetched_whole(transport: PulsarTransport, job_id: str) -> None:
    await transport.launch(tiny_order(job_id, until="go"))
    pieces: list[bytes] = []
    assert not await transport.fetch_file(job_id, "out/000001", pieces.append)
    for data in (bytes(range(256)) * 20_000, b""):
        await transport.write_file(job_id, "out/000001", data)
        pieces.clear()
        assert await transport.fetch_file(job_id, "out/000001", pieces.append)
        assert b"".join(pieces) == data
    assert not await transport.fetch_file("task-of-nobody-1", "out/000001", pieces.append)


@carriers
async def test_what_the_sink_raises_ends_the_transfer(transport: PulsarTransport, job_id: str) -> None:
    class Enough(Exception):
        pass

    def sink(_: bytes) -> None:
        raise Enough

    await transport.launch(tiny_order(job_id, until="go"))
    await transport.write_file(job_id, "out/000001", b"x" * 3_000_000)
    with pytest.raises(Enough):
        await transport.fetch_file(job_id, "out/000001", sink)
    assert await transport.fetch_file(job_id, "out/000001", lambda _: None), "the way is free again"


@pytest.mark.parametrize("site", OF_FILES, indirect=True)
async def test_files_come_and_go_one_at_a_time(site: Site, job_id: str) -> None:
    """Each keeps one of Pulsar's few threads busy."""
    transport = site.transport
    await transport.launch(tiny_order(job_id, until="go"))
    names = [f"out/{number:06d}" for number in range(3)]
    for name in names:
        await transport.write_file(job_id, name, b"x" * 2_000_000)
    order: list[str] = []
    fetches = (transport.fetch_file(job_id, name, lambda _, name=name: order.append(name)) for name in names)  # type: ignore[misc]
    assert all(await asyncio.gather(*fetches))
    turns = [name for name, before in zip(order, ["", *order], strict=False) if name != before]
    assert sorted(turns) == names, "no other file's bytes come between those of one"
    assert len(order) > len(names), "each came in several pieces"


@pytest.mark.parametrize("site", OF_FILES, indirect=True)
async def test_placed_inputs_are_there_when_the_worker_starts(
    site: Site, job_id: str, tmp_path: Path
) -> None:
    transport = site.transport
    contents = {"1": b"", "2-000001": bytes(range(256)) * 20_000}
    await transport.set_up(job_id)
    for name, data in [("2-000001", b"an earlier try"), *contents.items()]:
        (tmp_path / name).write_bytes(data)
        await transport.place_file(job_id, name, tmp_path / name)
    await transport.launch(tiny_order(job_id))
    assert b"COMPLETE" in await result_of(transport, job_id)
    placed = {path.name: path.read_bytes() for path in (site.staging / job_id / "inputs").iterdir()}
    assert placed == contents
    await eventually(lambda: has_state(transport, job_id, JobState.ENDED))
    await transport.clean(job_id)
    assert not (site.staging / job_id).exists()
