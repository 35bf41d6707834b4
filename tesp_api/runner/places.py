"""Who is where and who waits: gives each task that waits a place, as soon as there is one for it.

The oldest come first. One that waits for more than is free lets younger ones pass, but not for ever: after
`overtakes_max` of them one destination is kept free of younger tasks until it has its place. A queue that
all run through therefore never starves a task, as long as the destination kept for it answers.
"""

import asyncio
from bisect import insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tesp_api.runner.destinations import NO_LOAD, Chosen, Load, best, choose, obstacle, refusals
from tesp_api.runner.needs import Needs
from tesp_api.settings import DestinationSettings

_KEPT = "it is kept free for an older task"


@dataclass(slots=True, eq=False)
class Place:
    """A task's: at `destination`, and `why` there; or none yet, and what it `waits_for`.

    `told` is what its history says of that. `refused` says why some destinations can never take it.
    """

    task_id: str
    needs: Needs
    wake: asyncio.Event
    destination: str | None = None
    why: str = ""
    waits_for: str = ""
    told: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    _fitting: Mapping[str, DestinationSettings] = field(default_factory=dict)
    _overtaken: int = 0
    _kept: str | None = None

    @property
    def is_hopeless(self) -> bool:
        """Whether no destination can ever take the task."""
        return self.destination is None and not self._fitting


class Places:
    """The load of all destinations, and the tasks that wait; `closed` says which take none now, and why."""

    def __init__(
        self,
        destinations: Mapping[str, DestinationSettings],
        closed: Callable[[], Mapping[str, str]],
        overtakes_max: int,
    ) -> None:
        self._destinations = destinations
        self._closed = closed
        self._overtakes_max = overtakes_max
        self._loads: dict[str, Load] = {}
        self._waiting: list[Place] = []

    @property
    def waiting_count(self) -> int:
        """How many tasks wait."""
        return len(self._waiting)

    @property
    def loads(self) -> Mapping[str, Load]:
        """What is taken of each destination."""
        return self._loads

    def jobs_at(self, destination: str) -> int:
        """How many jobs a destination has, of tasks that this process drives."""
        return self._loads.get(destination, NO_LOAD).jobs

    def free(self) -> int:
        """How many more jobs could begin, if they were small."""
        closed = self._closed()
        return sum(
            max(0, site.max_running - self._loads.get(name, NO_LOAD).jobs)
            for name, site in self._destinations.items()
            if name not in closed
        )

    def occupy(self, task_id: str, needs: Needs, wake: asyncio.Event, destination: str) -> Place:
        """The place of a task that is at a destination already, be there room or not."""
        self._add(destination, needs, 1)
        return Place(task_id, needs, wake, destination)

    def enter(self, task_id: str, needs: Needs, wake: asyncio.Event) -> Place:
        """A place for a new task: `settle` decides where, now or later, and then sets `wake`."""
        refused = refusals(needs, self._destinations)
        others = self._destinations.keys() - refused.keys() - self._closed().keys() - {needs.avoids}
        if needs.avoids is not None and needs.avoids in self._destinations and others:
            refused.setdefault(needs.avoids, "the attempt before was there")
        place = Place(task_id, needs, wake, refused=refused)
        place._fitting = {n: site for n, site in self._destinations.items() if n not in place.refused}
        if place._fitting:
            insort(self._waiting, place, key=lambda one: one.task_id)
        return place

    def leave(self, place: Place) -> bool:
        """The task needs its place no more, or does not wait any more; whether there is more room now.

        May be repeated.
        """
        if place.destination is not None:
            self._add(place.destination, place.needs, -1)
            place.destination = None
            return True
        if place in self._waiting:
            self._waiting.remove(place)
        return False

    def give_back(self, place: Place) -> None:
        """The task could not be sent to its destination: it waits again."""
        self.leave(place)
        insort(self._waiting, place, key=lambda one: one.task_id)

    def settle(self) -> None:
        """Give places to all that can have one."""
        closed = dict(self._closed())
        waiting, self._waiting = self._waiting, []
        known: dict[Needs, str] = {}  # what is full for one is full for all its like that come after
        for place in waiting:
            if place.needs in known:
                place.waits_for = known[place.needs]
            else:
                outcome = choose(place.needs, place._fitting, self._loads, closed)
                if isinstance(outcome, Chosen):
                    self._place(place, outcome)
                    continue
                place.waits_for = outcome.reason
                known[place.needs] = outcome.reason
            self._waiting.append(place)
            if place._overtaken >= self._overtakes_max and self._keep(place, closed):
                known.clear()

    def _place(self, place: Place, chosen: Chosen) -> None:
        refused = (f"{name} cannot take it: {reason}" for name, reason in place.refused.items())
        named = place.needs.destination is not None  # the rest need not be told why not
        place.why = "; ".join(filter(None, (chosen.why, *(() if named else refused))))
        place.destination, place.waits_for, place._kept = chosen.name, "", None
        self._add(chosen.name, place.needs, 1)
        for older in self._waiting:
            older._overtaken += chosen.name in older._fitting
        place.wake.set()

    def _keep(self, place: Place, closed: dict[str, str]) -> bool:
        """Keep a destination for a task that was passed too often; whether it was not kept before."""
        open_ones = {name: site for name, site in place._fitting.items() if closed.get(name, _KEPT) == _KEPT}
        if place._kept not in open_ones:
            place._kept = best(place.needs, open_ones, self._loads) if open_ones else None
        if place._kept is None or place._kept in closed:
            return False
        closed[place._kept] = _KEPT
        return True

    def _add(self, destination: str, needs: Needs, sign: int) -> None:
        self._loads[destination] = self._loads.get(destination, NO_LOAD).plus(needs, sign)


def would_go_to(
    needs: Needs,
    destinations: Mapping[str, DestinationSettings],
    loads: Mapping[str, Load],
    closed: Mapping[str, str],
) -> str:
    """Where a task that came now would go, or would most likely go later; any, if none can take it."""
    refused = refusals(needs, destinations)
    fitting = {name: site for name, site in destinations.items() if name not in refused} or destinations
    able = {
        name: site
        for name, site in fitting.items()
        if name not in closed and not obstacle(needs, site, loads.get(name, NO_LOAD))
    }
    return best(needs, able or fitting, loads)
