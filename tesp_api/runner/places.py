"""Who is where and who waits: gives each task that waits a place, as soon as there is one for it.

Users take turns: whoever uses fewest cores comes next, with their oldest task; of equals, whose turn was
longest ago. One that waits for more than is free lets others pass, but not for ever: after `overtakes_max` of
them one destination is kept free for it until it has its place. A queue that all run through therefore never
starves a task, as long as the destination kept for it answers. Where tasks of several users wait, one for
which a destination was kept sends the others of its user to the end of that line, so that many large tasks of
one user are not waited for one after the other.
"""

import asyncio
import heapq
from bisect import insort
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tesp_api.runner.destinations import NO_LOAD, Chosen, Load, best, choose, obstacle, refusals
from tesp_api.runner.needs import Needs
from tesp_api.settings import DestinationSettings

_KEPT = "it is kept free for a task that was passed often"
_TURNS_KNOWN = 10_000


@dataclass(slots=True, eq=False)
class Place:
    """A task's: at `destination`, and `why` there; or none yet, and what it `waits_for`.

    `told` is what its history says of that. `comes_later` says that tasks of users who use less come first;
    once its history has told so, it `told_turns`. `refused` says why some destinations can never take it.
    """

    task_id: str
    needs: Needs
    wake: asyncio.Event
    owner: str = ""
    destination: str | None = None
    why: str = ""
    waits_for: str = ""
    told: str = ""
    comes_later: bool = False
    told_turns: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)
    _fitting: Mapping[str, DestinationSettings] = field(default_factory=dict)
    _avoided: Mapping[str, str] = field(default_factory=dict)
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
        self._cores: Counter[str] = Counter()
        self._served: dict[str, int] = {}
        self._turn = 0
        self._waiting: list[Place] = []

    @property
    def waiting_count(self) -> int:
        """How many tasks wait."""
        return len(self._waiting)

    def waiting_at(self) -> Counter[str]:
        """How many tasks wait that could go to each destination."""
        return Counter(name for place in self._waiting for name in place._fitting)

    def waiting_by_owner(self) -> Counter[str]:
        """How many tasks of each user wait."""
        return Counter(place.owner for place in self._waiting)

    def cores_by_owner(self) -> Mapping[str, int]:
        """How many cores the tasks of each user that are at a destination have asked for."""
        return +self._cores

    @property
    def served(self) -> Mapping[str, int]:
        """When the users had their last turns, as numbers that grow; not of those long ago."""
        return self._served

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

    def occupy(
        self, task_id: str, needs: Needs, wake: asyncio.Event, destination: str, owner: str = ""
    ) -> Place:
        """The place of a task that is at a destination already, be there room or not."""
        place = Place(task_id, needs, wake, owner, destination)
        self._add(destination, place, 1)
        return place

    def enter(self, task_id: str, needs: Needs, wake: asyncio.Event, owner: str = "") -> Place:
        """A place for a new task: `settle` decides where, now or later, and then sets `wake`."""
        place = Place(task_id, needs, wake, owner, refused=refusals(needs, self._destinations))
        self._fit(place)
        if place._fitting:
            insort(self._waiting, place, key=lambda one: one.task_id)
        return place

    def _fit(self, place: Place) -> None:
        """Find where it can go: not to the destination that it avoids, while another one that can answers."""
        fitting = {n: site for n, site in self._destinations.items() if n not in place.refused}
        avoids, avoided = place.needs.avoids, {}
        if avoids is not None and avoids in fitting and fitting.keys() - self._closed().keys() - {avoids}:
            del fitting[avoids]
            avoided = {avoids: "the attempt before was there"}
        place._fitting, place._avoided = fitting, avoided

    def leave(self, place: Place) -> bool:
        """The task needs its place no more, or does not wait any more; whether there is more room now.

        May be repeated.
        """
        if place.destination is not None:
            self._add(place.destination, place, -1)
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
        line, self._waiting = self._waiting, []
        owners = {place.owner for place in line}
        known: dict[Needs, str] = {}  # what is full for one is full for all its like that come after
        for place in _in_turn(line, self._cores, self._served) if len(owners) > 1 else line:
            if place.needs.avoids is not None:
                self._fit(place)
            if place.needs in known:
                place.waits_for = known[place.needs]
            else:
                outcome = choose(place.needs, place._fitting, self._loads, closed)
                if isinstance(outcome, Chosen):
                    self._place(place, outcome, line if len(owners) > 1 else ())
                    continue
                avoided = (f"{name}: {reason}" for name, reason in place._avoided.items())
                place.waits_for = known[place.needs] = "; ".join((outcome.reason, *avoided))
            self._waiting.append(place)
            if place._overtaken >= self._overtakes_max and self._keep(place, closed):
                known.clear()
        if len(owners) > 1:
            self._waiting.sort(key=lambda one: one.task_id)
        least = min((self._cores[owner] for owner in {place.owner for place in self._waiting}), default=0)
        for place in self._waiting:
            place.comes_later = self._cores[place.owner] > least

    def _place(self, place: Place, chosen: Chosen, of_several_users: Iterable[Place]) -> None:
        if place._kept is not None:  # it was waited for: of its user's others none is, before many pass again
            for other in of_several_users:
                if other.owner == place.owner:
                    other._overtaken, other._kept = 0, None
        unfit = {**place._avoided, **place.refused}
        refused = (f"{name} cannot take it: {reason}" for name, reason in unfit.items())
        named = place.needs.destination is not None  # the rest need not be told why not
        place.why = "; ".join(filter(None, (chosen.why, *(() if named else refused))))
        place.destination, place.waits_for, place._kept = chosen.name, "", None
        self._add(chosen.name, place, 1)
        self._note_turn(place.owner)
        for passed in self._waiting:
            passed._overtaken += chosen.name in passed._fitting
        place.wake.set()

    def _note_turn(self, owner: str) -> None:
        self._turn += 1
        self._served.pop(owner, None)
        self._served[owner] = self._turn
        if len(self._served) > _TURNS_KNOWN:
            del self._served[next(iter(self._served))]

    def _keep(self, place: Place, closed: dict[str, str]) -> bool:
        """Keep a destination for a task that was passed too often; whether it was not kept before."""
        open_ones = {name: site for name, site in place._fitting.items() if closed.get(name, _KEPT) == _KEPT}
        if place._kept not in open_ones:
            place._kept = best(place.needs, open_ones, self._loads) if open_ones else None
        if place._kept is None:
            return False
        if place._kept in closed:  # for another one, which comes first
            place._kept = None
            return False
        closed[place._kept] = _KEPT
        return True

    def _add(self, destination: str, place: Place, sign: int) -> None:
        self._loads[destination] = self._loads.get(destination, NO_LOAD).plus(place.needs, sign)
        self._cores[place.owner] += sign * place.needs.cores
        if not self._cores[place.owner]:
            del self._cores[place.owner]


def _in_turn(line: Sequence[Place], cores: Mapping[str, int], served: Mapping[str, int]) -> Iterator[Place]:
    """Those for which a destination is kept, the oldest first; then all others, by their users' turns."""
    waited_for = [place for place in line if place._kept is not None]
    yield from waited_for
    queues: dict[str, deque[Place]] = {}
    for place in line:
        if place not in waited_for:
            queues.setdefault(place.owner, deque()).append(place)
    turns = [(cores[owner], served.get(owner, 0), queue[0].task_id, owner) for owner, queue in queues.items()]
    heapq.heapify(turns)
    while turns:
        owner = turns[0][-1]
        queue = queues[owner]
        yield queue.popleft()  # who asks may give it a place: then its user uses more
        if queue:
            heapq.heapreplace(turns, (cores[owner], served.get(owner, 0), queue[0].task_id, owner))
        else:
            heapq.heappop(turns)


def would_wait_for(
    needs: Needs,
    destinations: Mapping[str, DestinationSettings],
    loads: Mapping[str, Load],
    closed: Mapping[str, str],
) -> str:
    """What a task that came now would wait for; "" if there is room for it, or will never be."""
    refused = refusals(needs, destinations)
    fitting = {name: site for name, site in destinations.items() if name not in refused}
    outcome = choose(needs, fitting, loads, closed)
    return "" if isinstance(outcome, Chosen) else outcome.reason


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
