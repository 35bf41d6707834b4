"""Several servers: what waits for the one whose embedded Pulsar has its job, and what it takes back."""

import pytest

from tesp_api.store.base import Changes, Job, TaskStore
from tesp_api.tes.states import State
from tests.contract.task_stores.conftest import Driver, FakeClock, StoreKind
from tests.factories import make_task

S = State
AWAY_S = 100.0


class Server:
    """A process of a server with a data folder of its own."""

    def __init__(self, store: TaskStore, name: str, process: str = "1") -> None:
        self.store, self.name, self.owner = store, name, f"{name}:{process}"

    async def claim(self, lease_s: float = 10) -> list[str]:
        tasks = await self.store.claim(
            self.owner, lease_s=lease_s, new_limit=9, server=self.name, away_s=AWAY_S
        )
        return [task.id for task in tasks]


@pytest.fixture
def one(store: TaskStore, kind: StoreKind) -> Server:
    if not kind.shared:
        pytest.skip("an embedded store has one server")
    return Server(store, "one")


@pytest.fixture
def two(one: Server) -> Server:
    return Server(one.store, "two")


async def begun(server: Server, job: Job) -> str:
    """A task that has a job, and that the server holds."""
    task_id = await server.store.create(make_task())
    assert await server.claim() == [task_id]
    claim = (await server.store.get(task_id)).claim
    assert claim is not None
    await server.store.update(task_id, Changes(attempt=1, job=job), claim=claim)
    return task_id


async def test_a_job_that_only_one_server_reaches_waits_for_it(
    one: Server, two: Server, clock: FakeClock
) -> None:
    theirs = await begun(one, Job("local", "job-1", server="one"))
    anybodys = await begun(one, Job("cluster", "job-2"))
    clock.advance(10)
    assert await two.claim() == [anybodys]
    clock.advance(AWAY_S - 1)
    assert theirs not in await two.claim()
    await two.store.request_cancel(theirs, "a cancel waits, too")
    assert theirs not in await two.claim()
    clock.advance(1)
    assert theirs in await two.claim()


async def test_the_server_itself_need_not_wait(one: Server, clock: FakeClock) -> None:
    theirs = await begun(one, Job("local", "job-1", server="one"))
    again = Server(one.store, "one", "2")
    assert await again.claim() == []
    clock.advance(10)
    assert await again.claim() == [theirs]


async def test_it_is_away_from_the_moment_in_which_it_was_stopped(
    one: Server, two: Server, clock: FakeClock
) -> None:
    theirs = await begun(one, Job("local", "job-1", server="one"))
    anybodys = await begun(one, Job("cluster", "job-2"))
    clock.advance(5)
    await one.store.release(one.owner)
    assert (await one.store.get(theirs)).claim is None
    assert await two.claim() == [anybodys]
    clock.advance(AWAY_S - 1)
    assert theirs not in await two.claim()
    assert await Server(one.store, "one", "2").claim() == [theirs]
    await one.store.release("one:2")
    clock.advance(AWAY_S)
    assert theirs in await two.claim()


async def test_a_server_that_starts_again_takes_back_what_its_dead_process_had(
    one: Server, two: Server
) -> None:
    theirs = await begun(one, Job("local", "job-1", server="one"))
    waiting = await one.store.create(make_task())
    assert await one.claim(lease_s=1000) == [waiting]
    of_two = await two.store.create(make_task())
    assert await two.claim() == [of_two]
    again = Server(one.store, "one", "2")
    assert await again.claim() == []
    await again.store.release_server("one")
    assert await again.claim() == [theirs, waiting]
    assert await one.store.renew(one.owner, lease_s=10) == {}
    claim = (await two.store.get(of_two)).claim
    assert claim is not None and claim.owner == two.owner


async def test_the_claims_of_a_server_are_those_of_its_very_name(store: TaskStore) -> None:
    names = ["one", "one:1", "ones:1", "xone:1", "o.e:1", "one:2"]
    ids = {}
    for name in names:
        ids[name] = await store.create(make_task())
        await Driver(store, name).claim()
    await store.release_server("one")
    held = {name for name in names if (await store.get(ids[name])).claim is not None}
    assert held == {"one", "ones:1", "xone:1", "o.e:1"}
    await store.release_server("o.e")
    assert (await store.get(ids["o.e:1"])).claim is None
