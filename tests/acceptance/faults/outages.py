"""Parts that are killed or paused, and links that are cut, with a task in every phase."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.acceptance.faults.cast import Cast
from tests.acceptance.faults.fittings import fitted, fittings_of
from tests.acceptance.faults.scenario import ALL, Absence, Scenario, Stage
from tests.acceptance.faults.worlds import (
    AMQP,
    AMQP_CHANNEL,
    KINDS,
    MONGODB_EMBEDDED,
    MONGODB_REST,
    SQLITE_REST,
    World,
    WorldKind,
)

LASTS_S = 30.0
WITH_PULSAR = (SQLITE_REST, MONGODB_REST, AMQP, AMQP_CHANNEL)
WITH_BROKER = (AMQP, AMQP_CHANNEL)
WITH_MONGODB = (MONGODB_EMBEDDED, MONGODB_REST)
WITH_CHANNEL = (MONGODB_REST, AMQP_CHANNEL)
CUTS = ("refused", "stalled", "forgotten")

_FITTED = {kind: fitted(kind) for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Outage:
    """Something that stops being there, and is there again.

    `at_once` is one that is over as soon as it has begun. While one lasts with `is_deaf`, the server takes
    no requests. `ways`: whether tasks go on while it lasts.
    """

    fault: str
    kinds: tuple[WorldKind, ...]
    begin: Callable[[World], None]
    end: Callable[[World], None]
    why_elsewhere_absent: str = ""
    at_once: bool = False
    is_deaf: bool = False
    ways: tuple[bool, ...] = (False, True)


def _cut(link: str, kinds: tuple[WorldKind, ...], why: str, *, is_deaf: bool = False) -> Iterator[Outage]:
    for cut in CUTS:

        def begin(world: World, cut: str = cut) -> None:
            there = fittings_of(world)[link]
            there.refuse() if cut == "refused" else there.stall()

        def end(world: World, cut: str = cut) -> None:
            fittings_of(world)[link].heal(forgets=cut == "forgotten")

        ways = (cut != "forgotten",)
        yield Outage(f"{link} {cut}", kinds, begin, end, why, is_deaf=is_deaf, ways=ways)


_NO_PULSAR = "its Pulsar is in the server's own process"
_NO_BROKER = "there is no broker"
_NO_MONGODB = "there is no MongoDB"
_NO_CHANNEL = "no worker reaches the server over TCP"

OUTAGES = (
    Outage(
        "Pulsar killed",
        WITH_PULSAR,
        lambda world: world.pulsar.kill(),
        lambda world: world.pulsar.start(),
        _NO_PULSAR,
        at_once=True,
        ways=(False,),
    ),
    Outage(
        "broker killed",
        WITH_BROKER,
        lambda world: world.broker.kill(),
        lambda world: world.broker.start(),
        _NO_BROKER,
        at_once=True,
        ways=(False,),
    ),
    Outage(
        "mongod killed",
        WITH_MONGODB,
        lambda world: world.mongod.kill(),
        lambda world: world.mongod.start(),
        _NO_MONGODB,
        at_once=True,
        ways=(False,),
        is_deaf=True,
    ),
    Outage(
        "Pulsar paused",
        WITH_PULSAR,
        lambda world: world.pulsar.pause(),
        lambda world: world.pulsar.resume(),
        _NO_PULSAR,
    ),
    Outage(
        "broker paused",
        WITH_BROKER,
        lambda world: world.broker.pause(),
        lambda world: world.broker.resume(),
        _NO_BROKER,
    ),
    Outage(
        "mongod paused",
        WITH_MONGODB,
        lambda world: world.mongod.pause(),
        lambda world: world.mongod.resume(),
        _NO_MONGODB,
        is_deaf=True,
    ),
    Outage(
        "server paused",
        KINDS,
        lambda world: world.server.pause(),
        lambda world: world.server.resume(),
        is_deaf=True,
    ),
    *_cut("server-pulsar", (SQLITE_REST, MONGODB_REST), "the server speaks to no Pulsar directly"),
    *_cut("server-broker", WITH_BROKER, _NO_BROKER),
    *_cut("pulsar-broker", WITH_BROKER, _NO_BROKER),
    *_cut("server-mongod", WITH_MONGODB, _NO_MONGODB, is_deaf=True),
    *_cut("worker-server", WITH_CHANNEL, _NO_CHANNEL),
)
FAULTS = tuple(outage.fault for outage in OUTAGES)


def scenarios() -> Iterator[Scenario]:
    for outage in OUTAGES:
        for kind in outage.kinds:
            for goes_on in outage.ways:
                yield scenario_of(outage, kind, goes_on=goes_on)


def scenario_of(outage: Outage, kind: WorldKind, *, goes_on: bool, lasts_s: float = LASTS_S) -> Scenario:
    """With `goes_on`, tasks go on while the outage lasts, else only then."""

    def run(stage: Stage) -> None:
        play(stage, outage, goes_on=goes_on, lasts_s=lasts_s)

    detail = "" if outage.at_once else "goes on meanwhile" if goes_on else "waits"
    return Scenario(outage.fault, ALL, _FITTED[kind], run, detail, end_within_s=120)


def absences() -> Iterator[Absence]:
    for outage in OUTAGES:
        if outage.why_elsewhere_absent:
            for kind in KINDS:
                if kind not in outage.kinds:
                    yield Absence(outage.fault, "*", kind.name, outage.why_elsewhere_absent)


def play(stage: Stage, outage: Outage, *, goes_on: bool, lasts_s: float) -> None:
    """One outage over a cast."""
    world = stage.world
    cast = Cast(world)
    cast.enter()
    stage.cast = cast.tasks
    try:
        if outage.is_deaf:
            cast.cancel()
        began_at = time.monotonic()
        outage.begin(world)
        try:
            if not outage.is_deaf:
                cast.cancel()
            cast.let_end()
            if goes_on:
                cast.go_on()
            if not outage.at_once:
                time.sleep(max(0.0, began_at + lasts_s - time.monotonic()))
        finally:
            outage.end(world)
    finally:
        cast.go_on()
    cast.assert_retired_as_before()
