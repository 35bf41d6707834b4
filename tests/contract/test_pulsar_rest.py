"""What a stock Pulsar's web server answers when things are wrong, and what we make of it."""

import asyncio
import io
import logging
import zipfile
from collections.abc import AsyncIterator, Iterator

import pytest

from tesp_api.errors import PulsarRefused, PulsarUnavailable
from tesp_api.pulsar.base import JobOrder, JobState
from tesp_api.pulsar.rest import RestPulsar
from tests.contract.pulsar_sites import eventually, started_pid
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
        return status.state is JobState.ENDED and "fails to report" in status.detail

    await eventually(ended)
    await pulsar.launch(tiny_order("job-binary"))  # has run: nothing to do
    await pulsar.clean("job-binary")
    assert (await pulsar.status("job-binary")).state is JobState.UNKNOWN


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
