"""What a stock Pulsar's web server answers when things are wrong, and what we make of it."""

import asyncio
import io
import logging
import subprocess
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tesp_api.errors import PulsarRefused, PulsarUnavailable
from tesp_api.pulsar.base import JobOrder, JobState
from tesp_api.pulsar.rest import RestPulsar
from tests.contract.pulsar_sites import eventually, is_running, started_pid
from tests.contract.tiny_worker import tiny_order
from tests.services.pulsar_rest import StockPulsar, free_port

pytestmark = pytest.mark.services

TOKEN = "a-token-nobody-may-see/&?"


@pytest.fixture(scope="module")
def stock_pulsar() -> Iterator[StockPulsar]:
    managers = {
        "_default_": {"type": "queued_python"},
        "second": {"type": "unqueued"},
        "inventive": {"type": "queued_python", "assign_ids": "uuid"},
    }
    with StockPulsar(private_token=TOKEN, managers=managers) as pulsar:
        yield pulsar


@pytest.fixture
async def pulsar(stock_pulsar: StockPulsar) -> AsyncIterator[RestPulsar]:
    pulsar = RestPulsar("site", stock_pulsar.url, TOKEN)
    await pulsar.open()
    yield pulsar
    await pulsar.aclose()


async def refusal(pulsar: RestPulsar) -> PulsarRefused:
    """The error that every method but `wait_for_news` has to give; closes the transport."""
    calls = (
        pulsar.check(),
        pulsar.launch(tiny_order("job-1")),
        pulsar.status("job-1"),
        pulsar.read_file("job-1", "started"),
        pulsar.write_file("job-1", "cancel", b""),
        pulsar.cancel("job-1"),
        pulsar.clean("job-1"),
    )
    errors = await asyncio.gather(*calls, return_exceptions=True)
    await pulsar.aclose()
    assert [type(error) for error in errors] == [PulsarRefused] * len(calls)
    assert isinstance(errors[0], PulsarRefused)
    return errors[0]


@pytest.mark.parametrize("token", ["wrong-token-nobody-may-see", None])
async def test_a_wrong_token_is_refused_and_never_told(
    stock_pulsar: StockPulsar, token: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    error = await refusal(RestPulsar("site", stock_pulsar.url, token))
    assert "token" in str(error)
    assert "nobody-may-see" not in str(error) + repr(error) + caplog.text


async def test_the_right_token_is_in_no_log_and_no_error(
    pulsar: RestPulsar, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await pulsar.launch(tiny_order("job-quiet"))
    await pulsar.read_file("job-quiet", "no-such-file")
    await pulsar.clean("job-quiet")
    assert "HTTP Request" in caplog.text
    assert "nobody-may-see" not in caplog.text


async def test_an_unknown_manager_is_refused(stock_pulsar: StockPulsar) -> None:
    error = await refusal(RestPulsar("site", stock_pulsar.url, TOKEN, manager="no such manager"))
    assert "no such manager" in str(error)


async def test_something_else_at_the_url_is_refused(stock_pulsar: StockPulsar) -> None:
    error = await refusal(RestPulsar("site", f"{stock_pulsar.url}/elsewhere", TOKEN))
    assert "no Pulsar" in str(error)


async def test_a_named_manager_is_used(stock_pulsar: StockPulsar, pulsar: RestPulsar) -> None:
    second = RestPulsar("site", stock_pulsar.url, TOKEN, manager="second")
    await second.check()
    await second.launch(tiny_order("job-second"))
    await eventually(lambda: second.read_file("job-second", "result.json"))
    await second.clean("job-second")
    await second.aclose()


async def test_a_pulsar_that_invents_job_ids_is_refused(stock_pulsar: StockPulsar) -> None:
    inventive = RestPulsar("site", stock_pulsar.url, TOKEN, manager="inventive")
    before = set(stock_pulsar.staging.iterdir())
    with pytest.raises(PulsarRefused, match="assign_ids"):
        await inventive.launch(tiny_order("job-invented"))
    assert set(stock_pulsar.staging.iterdir()) == before
    await inventive.aclose()


async def test_a_pulsar_that_is_down_is_unavailable() -> None:
    pulsar = RestPulsar("site", f"http://127.0.0.1:{free_port()}", TOKEN)
    for call in (pulsar.check(), pulsar.launch(tiny_order("job-1")), pulsar.status("job-1")):
        with pytest.raises(PulsarUnavailable) as caught:
            await call
        assert "nobody-may-see" not in str(caught.value)
    await pulsar.aclose()


async def test_a_pulsar_that_does_not_answer_is_unavailable() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pulsar = RestPulsar("site", f"http://127.0.0.1:{port}", TOKEN, timeout_s=0.2)
    with pytest.raises(PulsarUnavailable):
        await pulsar.check()
    await pulsar.aclose()
    server.close()
    await server.wait_closed()


async def test_a_file_that_is_no_file_is_unavailable_not_missing(pulsar: RestPulsar) -> None:
    await pulsar.launch(tiny_order("job-folder"))
    await pulsar.write_file("job-folder", "logs/0.stdout.000000", b"")
    with pytest.raises(PulsarUnavailable):
        await pulsar.read_file("job-folder", "logs")
    await pulsar.clean("job-folder")


async def test_an_ended_job_whose_output_pulsar_cannot_read_has_ended(pulsar: RestPulsar) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as worker:
        worker.writestr("__main__.py", "import os; os.write(1, b'\\xff\\xfe')")
    await pulsar.launch(JobOrder("job-binary", buffer.getvalue(), b"{}"))

    async def ended() -> bool:
        status = await pulsar.status("job-binary")
        return status.state is JobState.UNTOLD and "fails to report" in status.detail

    await eventually(ended)
    await pulsar.launch(tiny_order("job-binary"))  # has run: nothing to do
    await pulsar.clean("job-binary")
    assert (await pulsar.status("job-binary")).state is JobState.UNKNOWN


async def set_up_by_hand(stock_pulsar: StockPulsar, order: JobOrder) -> Path:
    """Make a job directory as `launch` does, without submitting the job."""
    query = {"job_id": order.job_id, "private_token": TOKEN}
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{stock_pulsar.url}/jobs", params=query)
    folder = Path(answer.json()["job_directory"])
    (folder / "tool_files" / "tesp-worker.pyz").write_bytes(order.worker)
    (folder / "tool_files" / "task.json").write_bytes(order.task_json)
    return folder


async def test_a_job_that_was_set_up_and_not_submitted_is_launched(
    stock_pulsar: StockPulsar, pulsar: RestPulsar
) -> None:
    order = tiny_order("job-half")
    await set_up_by_hand(stock_pulsar, order)
    assert (await pulsar.status("job-half")).state is JobState.PENDING
    await pulsar.launch(order)
    await eventually(lambda: pulsar.read_file("job-half", "result.json"))
    await pulsar.clean("job-half")


async def test_a_job_that_pulsar_forgot_as_it_was_killed_is_launched_again(
    stock_pulsar: StockPulsar, pulsar: RestPulsar
) -> None:
    order = tiny_order("job-forgotten")
    folder = await set_up_by_hand(stock_pulsar, order)
    # what Pulsar leaves if it is killed between its answer to our submit and its fork
    for mark in ("preprocessed", "submitted"):
        (folder / mark).write_text("true")
    assert (await pulsar.status("job-forgotten")).state is JobState.WAITING
    await pulsar.launch(order)
    await eventually(lambda: pulsar.read_file("job-forgotten", "result.json"))
    await pulsar.clean("job-forgotten")


async def test_a_running_job_is_not_uploaded_to_again(stock_pulsar: StockPulsar, pulsar: RestPulsar) -> None:
    order = tiny_order("job-upload", until="go")
    await pulsar.launch(order)
    await started_pid(pulsar, "job-upload")
    await pulsar.launch(JobOrder("job-upload", b"another worker", b"another order"))
    assert (
        stock_pulsar.staging / "job-upload" / "tool_files" / "tesp-worker.pyz"
    ).read_bytes() == order.worker
    await pulsar.cancel("job-upload")
    await pulsar.clean("job-upload")


async def test_an_ended_job_is_not_killed_again(stock_pulsar: StockPulsar, pulsar: RestPulsar) -> None:
    """After a restart Pulsar takes it for running, and would kill whatever has its pid by then."""
    await pulsar.launch(tiny_order("job-over"))
    await eventually(lambda: pulsar.read_file("job-over", "result.json"))

    async def settled() -> bool:
        return not (stock_pulsar.staging / "job-over" / "pid").exists()

    await eventually(settled)
    with subprocess.Popen(["sleep", "60"]) as stranger:  # noqa: ASYNC220
        (stock_pulsar.staging / "job-over" / "pid").write_text(str(stranger.pid))
        await pulsar.cancel("job-over")
        assert is_running(stranger.pid)
        stranger.kill()
    await pulsar.clean("job-over")


async def test_a_write_wakes_who_waits_in_this_process(pulsar: RestPulsar) -> None:
    await pulsar.launch(tiny_order("job-wake", until="go"))
    await started_pid(pulsar, "job-wake")
    waiting = asyncio.create_task(pulsar.wait_for_news("job-wake", 30))
    await asyncio.sleep(0.05)
    await pulsar.write_file("job-wake", "go", b"")
    async with asyncio.timeout(2):
        await waiting
    await eventually(lambda: pulsar.read_file("job-wake", "result.json"))
    await pulsar.clean("job-wake")


async def test_many_calls_at_once_all_arrive(pulsar: RestPulsar) -> None:
    job_ids = [f"job-many-{number}" for number in range(12)]
    await asyncio.gather(*(pulsar.launch(tiny_order(job_id)) for job_id in job_ids))
    for job_id in job_ids:
        await eventually(lambda job_id=job_id: pulsar.read_file(job_id, "result.json"))  # type: ignore[misc]
    await asyncio.gather(*(pulsar.clean(job_id) for job_id in job_ids))
