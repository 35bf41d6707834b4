"""Reports: what sites send by themselves is kept, by job and name, and not for ever."""

from collections.abc import Callable

from tesp_api.store.base import Changes, Job, TaskStore
from tesp_api.tes.states import State
from tests.contract.task_stores.conftest import Driver
from tests.factories import make_task

BYTES = bytes(range(256)) * 1024


async def test_a_report_is_read_as_it_was_last_put(store: TaskStore) -> None:
    assert await store.read_report("job-1", "heartbeat") is None
    await store.put_report("job-1", "heartbeat", b"old")
    await store.put_report("job-1", "heartbeat", BYTES)
    await store.put_report("job-1", "logs/0.stdout.000000", b"$dollar")
    await store.put_report("job-11", "heartbeat", b"")
    assert await store.read_report("job-1", "heartbeat") == BYTES
    assert await store.read_report("job-1", "logs/0.stdout.000000") == b"$dollar"
    assert await store.read_report("job-11", "heartbeat") == b""


async def test_dropping_takes_one_or_all_of_a_job_and_nothing_else(store: TaskStore) -> None:
    for job_id in ("job-1", "job-10", "job-1-2"):
        for name in ("a", "b", "a/c"):
            await store.put_report(job_id, name, b"x")
    await store.drop_reports("job-1", "a")
    assert [await store.read_report("job-1", name) for name in ("a", "b", "a/c")] == [None, b"x", b"x"]
    await store.drop_reports("job-1")
    await store.drop_reports("job-1")
    assert [await store.read_report("job-1", name) for name in ("a", "b", "a/c")] == [None] * 3
    for job_id in ("job-10", "job-1-2"):
        assert [await store.read_report(job_id, name) for name in ("a", "b", "a/c")] == [b"x"] * 3


async def test_reports_go_with_the_task(store: TaskStore, runner: Driver) -> None:
    claim = await runner.take(make_task())
    job = Job("far", f"{claim.task_id}-1")
    await store.update(claim.task_id, Changes(attempt=1, job=job), claim=claim)
    await store.put_report(job.job_id, "result.json", b"{}")
    await store.put_report("another", "result.json", b"{}")
    await store.transition(claim.task_id, State.CANCELED, claim=claim, reason="over")
    assert await store.read_report(job.job_id, "result.json") == b"{}"
    await store.retire(claim)
    assert await store.read_report(job.job_id, "result.json") is None
    assert await store.read_report("another", "result.json") == b"{}"


async def test_a_report_survives_a_restart(store: TaskStore, handle: Callable[[], TaskStore]) -> None:
    await store.put_report("job-1", "heartbeat", b"x")
    await store.aclose()
    again = handle()
    await again.open()
    assert await again.read_report("job-1", "heartbeat") == b"x"
    await again.aclose()
