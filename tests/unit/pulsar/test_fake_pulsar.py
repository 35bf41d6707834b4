import pytest

from tesp_api.errors import PulsarUnavailable
from tesp_api.pulsar.base import JobOrder, JobState
from tests.fakes.pulsar import FakePulsar

ORDER = JobOrder("job-1", b"worker", b"{}")


async def test_a_script_is_played_at_the_launch() -> None:
    pulsar = FakePulsar()
    pulsar.script("job-1", {"result.json": b"{}"})
    await pulsar.launch(ORDER)
    assert await pulsar.read_file("job-1", "result.json") == b"{}"
    assert (await pulsar.status("job-1")).state is JobState.ENDED


async def test_a_job_that_the_test_plays_wakes_its_follower() -> None:
    pulsar = FakePulsar()
    await pulsar.launch(ORDER)
    pulsar.put("job-1", "events.ndjson", b"line\n")
    await pulsar.wait_for_news("job-1", 60)
    pulsar.end("job-1")
    await pulsar.wait_for_news("job-1", 60)
    assert (await pulsar.status("job-1")).state is JobState.ENDED


async def test_failures_come_in_order_and_pass() -> None:
    pulsar = FakePulsar()
    pulsar.fail_next("launch", PulsarUnavailable("first"))
    pulsar.fail_next("launch", PulsarUnavailable("second"))
    for text in ("first", "second"):
        with pytest.raises(PulsarUnavailable, match=text):
            await pulsar.launch(ORDER)
    await pulsar.launch(ORDER)
    assert pulsar.launches == ["job-1"]
