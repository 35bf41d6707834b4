"""Plays scenarios, several worlds at a time, and notes what came of each."""

import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from random import Random

from tests.acceptance.faults.courses import Tracked
from tests.acceptance.faults.invariants import check_world, histories
from tests.acceptance.faults.scenario import ALL, SURVEY, Scenario, Stage
from tests.acceptance.faults.worlds import World, WorldKind


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scenario; `phase` is that in which the fault did come. `faults` empty: all is well."""

    name: str
    fault: str
    phase: str
    world: str
    note: str
    took_s: float
    faults: tuple[str, ...]


class Campaign:
    """Each scenario's randomness depends on the seed and its name alone, so that it can be played again.

    In each kind of world, `most` of those that match `only` are played at most, chosen by the seed. `tell` is
    called with each outcome, by one thread at a time.
    """

    def __init__(
        self,
        seed: int,
        only: str = "*",
        *,
        at_once: int = 2,
        most: int | None = None,
        tell: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._seed = seed
        self._only = only
        self._at_once = at_once
        self._most = most
        self._tell = tell
        self._door = threading.Condition()
        self._waiting: dict[WorldKind, list[Scenario]] = {}
        self._played: dict[WorldKind, int] = {}
        self._playing: set[WorldKind] = set()
        self._is_stopping = False
        self.outcomes: list[Outcome] = []

    def play(self, scenarios: Iterable[Scenario]) -> list[Outcome]:
        """Play all that are wanted, and those that they lead to; interrupted, only end what was begun."""
        for scenario in scenarios:
            self._add(scenario)
        threads = [
            threading.Thread(target=self._work, name=f"stage {number}") for number in range(self._at_once)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            with self._door:
                self._is_stopping = True
            for thread in threads:
                thread.join()
        return self.outcomes

    def _add(self, scenario: Scenario) -> None:
        if self._is_wanted(scenario):
            self._waiting.setdefault(scenario.world, []).append(scenario)

    def _is_wanted(self, scenario: Scenario) -> bool:
        if scenario.phase == SURVEY:  # it may lead to what is wanted
            place = "/".join(self._only.split("/")[:2])
            return fnmatchcase(f"{scenario.fault}/{scenario.world.name}", place)
        return fnmatchcase(scenario.name, self._only)

    def _work(self) -> None:
        """Take a kind of world after the other, and play what is to be played in it."""
        while (kind := self._next_kind()) is not None:
            try:
                self._play_in(kind)
            finally:
                with self._door:
                    self._playing.discard(kind)
                    self._door.notify_all()

    def _next_kind(self) -> WorldKind | None:
        with self._door:
            while True:
                open_kinds = [kind for kind, left in self._waiting.items() if left]
                free = [kind for kind in open_kinds if kind not in self._playing]
                if free:
                    kind = max(free, key=lambda kind: len(self._waiting[kind]))
                    self._playing.add(kind)
                    return kind
                if not open_kinds:
                    return None
                self._door.wait()

    def _next_scenario(self, kind: WorldKind) -> Scenario | None:
        """One of those that are left, at random, once all surveys are done.

        So a run that is broken off has seen something of everything.
        """
        with self._door:
            waiting, played = self._waiting[kind], self._played.get(kind, 0)
            surveys = [scenario for scenario in waiting if scenario.phase == SURVEY]
            if self._is_stopping or (not surveys and self._most is not None and played >= self._most):
                waiting.clear()
            if not waiting:
                return None
            if surveys:
                waiting.remove(surveys[0])
                return surveys[0]
            self._played[kind] = played + 1
            return waiting.pop(Random(f"{self._seed} {kind.name} {played}").randrange(len(waiting)))

    def _play_in(self, kind: WorldKind) -> None:
        """Worlds of this kind, a new one after each scenario that failed, until nothing is left to play."""
        scenario = self._next_scenario(kind)
        while scenario is not None:
            try:
                with World(kind, Random(self._seed)) as world:
                    is_sound = True
                    while is_sound and scenario is not None:
                        is_sound = self._play_one(scenario, world)
                        scenario = self._next_scenario(kind)
            except Exception:  # the world itself: it did not start, or not end
                faults = (traceback.format_exc(limit=-4),)
                if scenario is not None:
                    self._note(
                        Outcome(scenario.name, scenario.fault, scenario.phase, kind.name, "", 0, faults)
                    )
                scenario = self._next_scenario(kind)

    def _play_one(self, scenario: Scenario, world: World) -> bool:
        began_at = time.monotonic()
        stage = Stage(world, Random(f"{self._seed} {scenario.name}"), scenario.phase)
        faults: list[str] = []
        context: list[str] = []
        try:
            scenario.run(stage)
            faults, context = check_world(world, scenario.end_within_s)
        except Exception:
            faults, context = [traceback.format_exc(limit=-6)], histories(world)
        if faults:
            context += [server.log[-6000:] for server in world.servers]
        took_s = time.monotonic() - began_at
        names = (scenario.name, scenario.fault, stage.phase, scenario.world.name, stage.note)
        self._note(Outcome(*names, took_s, tuple(faults)), context, stage.cast)
        with self._door:
            for further in stage.further:
                self._add(further)
        return not faults

    def _note(
        self, outcome: Outcome, context: Sequence[str] = (), cast: Mapping[str, Tracked] | None = None
    ) -> None:
        """`context` is what helps to understand what is wrong, if something is."""
        with self._door:
            for each in _by_phase(outcome, cast) if cast else (outcome,):
                told = replace(each, faults=(*each.faults, *context)) if each.faults else each
                self.outcomes.append(told)
                if self._tell is not None:
                    self._tell(told)


def _by_phase(outcome: Outcome, cast: Mapping[str, Tracked]) -> Iterator[Outcome]:
    """One for each task of a cast, with the faults that are its own or nobody's."""
    for phase in cast:
        others = [task.id for other, task in cast.items() if other != phase]
        faults = [fault for fault in outcome.faults if not any(other in fault for other in others)]
        name = outcome.name.replace(ALL, phase)
        took_s = outcome.took_s / len(cast)
        yield replace(outcome, name=name, phase=phase, took_s=took_s, faults=tuple(faults))
