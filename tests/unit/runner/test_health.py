"""The circuit breaker of a destination, by a clock of the test's own; and its probes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tesp_api.errors import PulsarRefused, PulsarUnavailable
from tesp_api.runner import health
from tesp_api.runner.health import FRESH_S, OPENS_AFTER, PROBE_MAX_S, PROBE_MIN_S, Circuit, Health
from tests.fakes.pulsar import FakePulsar
from tests.unit.runner.test_scheduler import until


class FakeClock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def opened(clock: FakeClock) -> Circuit:
    circuit = Circuit(clock)
    for _ in range(OPENS_AFTER):
        circuit.fail("down")
    return circuit


def test_it_opens_after_failures_in_a_row() -> None:
    circuit = Circuit(FakeClock())
    for _ in range(2):
        for _ in range(OPENS_AFTER - 1):
            circuit.fail("down")
        assert not circuit.is_open
        circuit.succeed()
    for _ in range(OPENS_AFTER):
        circuit.fail("down")
    assert circuit.is_open


def test_probes_come_later_and_later() -> None:
    clock = FakeClock()
    circuit = opened(clock)
    pauses = []
    for _ in range(8):
        assert circuit.probe_at is not None
        pauses.append(circuit.probe_at - clock.now)
        clock.now = circuit.probe_at
        circuit.fail("down")
    assert pauses[:3] == [PROBE_MIN_S, 2 * PROBE_MIN_S, 4 * PROBE_MIN_S]
    assert pauses[-1] == PROBE_MAX_S


def test_failures_of_others_do_not_put_the_probe_off() -> None:
    clock = FakeClock()
    circuit = opened(clock)
    due = circuit.probe_at
    clock.now += PROBE_MIN_S / 2
    circuit.fail("a task's launch")
    assert circuit.probe_at == due


def test_an_answer_closes_it_and_the_pauses_begin_anew() -> None:
    clock = FakeClock()
    circuit = opened(clock)
    clock.now = circuit.probe_at or 0
    circuit.fail("down")
    circuit.succeed()
    assert (circuit.is_open, circuit.failures) == (False, 0)
    for _ in range(OPENS_AFTER):
        circuit.fail("down")
    assert circuit.probe_at == clock.now + PROBE_MIN_S


def test_an_answer_is_fresh_for_a_while_unless_a_failure_follows() -> None:
    clock = FakeClock()
    circuit = Circuit(clock)
    assert not circuit.is_fresh
    circuit.succeed()
    clock.now += FRESH_S - 0.1
    assert circuit.is_fresh
    circuit.fail("down")
    assert not circuit.is_fresh
    circuit.succeed()
    clock.now += FRESH_S
    assert not circuit.is_fresh


class World:
    def __init__(self) -> None:
        self.pulsar = FakePulsar("site")
        self.turns = 0
        self.health = Health({"site": self.pulsar}, self.turned)

    def turned(self) -> None:
        self.turns += 1

    async def fail(self, times: int) -> None:
        for _ in range(times):
            self.pulsar.fail_next("check", PulsarUnavailable("away"))
            with pytest.raises(PulsarUnavailable):
                await self.health.check("site")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.health.aclose()


async def test_a_destination_that_is_away_is_closed_until_a_probe_finds_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PROBE_MIN_S", 0.01)
    await world.fail(OPENS_AFTER)
    assert world.health.closed_destinations() == {"site": "its Pulsar does not answer"}
    assert world.turns == 1
    await until(lambda: not world.health.closed_destinations())
    assert world.turns == 2


async def test_readiness_says_that_tasks_are_kept_away(world: World) -> None:
    await world.fail(OPENS_AFTER - 1)
    world.pulsar.fail_next("check", PulsarUnavailable("away"))
    with pytest.raises(PulsarUnavailable, match=r"^away; no new tasks are sent there until it answers$"):
        await world.health.check("site")


async def test_a_launch_counts_and_a_refusal_is_an_answer(world: World) -> None:
    for error in (PulsarUnavailable("a"), PulsarUnavailable("b"), PulsarRefused("c"), PulsarUnavailable("d")):
        with pytest.raises(type(error)), world.health.watch("site"):
            raise error
    assert not world.health.closed_destinations()
    for _ in range(2):
        with pytest.raises(PulsarUnavailable), world.health.watch("site"):
            raise PulsarUnavailable("e")
    assert world.health.closed_destinations()


async def test_other_errors_say_nothing_of_the_destination(world: World) -> None:
    await world.fail(OPENS_AFTER - 1)
    with pytest.raises(ValueError, match="bug"), world.health.watch("site"):
        raise ValueError("bug")
    await world.fail(1)
    assert world.health.closed_destinations()


async def test_one_that_does_not_answer_in_time_has_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(health, "_CHECK_TIMEOUT_S", 0.01)
    monkeypatch.setattr(world.pulsar, "check", hang)
    with pytest.raises(PulsarUnavailable, match="did not answer within"):
        await world.health.assure("site")


async def test_one_that_is_doubted_is_asked(world: World) -> None:
    await world.health.assure("site")
    world.health.doubt("site")
    world.pulsar.fail_next("check", PulsarUnavailable("away"))
    with pytest.raises(PulsarUnavailable, match="away"):
        await world.health.assure("site")


async def test_one_that_answered_a_moment_ago_is_not_asked_again(world: World) -> None:
    await world.health.assure("site")
    world.pulsar.fail_next("check", PulsarUnavailable("away"))
    await world.health.assure("site")
