"""Tasks that wait: never above a limit, the oldest first, and none for ever."""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tesp_api.runner.needs import Needs
from tesp_api.runner.places import Place, Places
from tesp_api.settings import DestinationSettings

OVERTAKES = 3
SITES = {
    "a": DestinationSettings(max_running=3, max_cores=8, max_ram_gb=16),
    "b": DestinationSettings(
        kind="rest", url="http://127.0.0.1:1", max_running=2, max_cores=4, task_max_ram_gb=3
    ),
}


def needs(cores: int = 1, ram_mb: int = 1000, destination: str | None = None) -> Needs:
    return Needs(cores, ram_mb, None, False, frozenset(), destination, None, frozenset(SITES), ())


class Crowd:
    """Tasks that come and go at `SITES`, each with its place, the oldest first."""

    def __init__(self) -> None:
        self.closed: dict[str, str] = {}
        self.places = Places(SITES, lambda: self.closed, OVERTAKES)
        self.all: list[Place] = []

    def come(self, wanted: Needs, *, settle: bool = True) -> Place:
        place = self.places.enter(f"{len(self.all):04d}", wanted, asyncio.Event())
        self.all.append(place)
        if settle:
            self.places.settle()
        return place

    def go(self, place: Place) -> None:
        self.places.leave(place)
        self.all.remove(place)
        self.places.settle()

    @property
    def running(self) -> list[Place]:
        return [place for place in self.all if place.destination]

    def check(self) -> None:
        for name, site in SITES.items():
            there = [place.needs for place in self.running if place.destination == name]
            assert len(there) <= site.max_running
            assert sum(one.cores for one in there) <= (site.max_cores or 10**9)
            assert sum(one.ram_mb for one in there) <= (site.max_ram_mb or 10**9)
            assert all(one.ram_mb <= (site.most_ram_mb or 10**9) for one in there)
            assert self.places.loads.get(name, (0, 0, 0)) == (
                len(there),
                sum(one.cores for one in there),
                sum(one.ram_mb for one in there),
            )


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.integers(1, 8), st.integers(1, 16), st.sampled_from([None, "a", "b"])),
        st.tuples(st.just("go"), st.integers(0, 9)),
        st.tuples(st.just("down"), st.sampled_from("ab")),
        st.tuples(st.just("up"), st.sampled_from("ab")),
    ),
    max_size=60,
)


@given(STEPS)
def test_no_limit_is_ever_exceeded_and_all_end_once_the_sites_answer(steps: list[tuple[Any, ...]]) -> None:
    crowd = Crowd()
    number = 0
    for what, *values in steps:
        if what == "come":
            cores, ram_gb, destination = values
            place = crowd.places.enter(
                f"{number:04d}", needs(cores, ram_gb * 1000, destination), asyncio.Event()
            )
            number += 1
            if not place.is_hopeless:
                crowd.all.append(place)
        elif what == "go" and crowd.running:
            crowd.go(crowd.running[values[0] % len(crowd.running)])
        elif what == "down":
            crowd.closed[values[0]] = "away"
        elif what == "up":
            crowd.closed.pop(values[0], None)
        crowd.places.settle()
        crowd.check()
    crowd.closed.clear()
    crowd.places.settle()
    while crowd.running:
        crowd.go(crowd.running[-1])
        crowd.check()
    assert not crowd.all
    assert not crowd.places.waiting_count


@given(st.lists(st.integers(1, 4), min_size=40, max_size=60), st.integers(0, 2))
def test_a_large_task_is_passed_only_so_often(sizes: list[int], ends: int) -> None:
    """However many small ones keep coming, and whichever of them ends first."""
    crowd = Crowd()
    crowd.come(needs(2))
    large = crowd.come(needs(8, destination="a"))
    passed = 0
    for cores in sizes:
        if large.destination:
            break
        small = crowd.come(needs(cores, destination="a"))
        passed += small.destination is not None
        if crowd.running:
            before = {one for one in crowd.all if not one.destination}
            crowd.go(crowd.running[ends % len(crowd.running)])
            passed += sum(one.destination is not None and one is not large for one in before)
    assert large.destination == "a"
    assert passed <= OVERTAKES


def test_the_oldest_comes_first() -> None:
    crowd = Crowd()
    running = [crowd.come(needs(destination="b")) for _ in range(2)]
    waiting = [crowd.come(needs(destination="b")) for _ in range(3)]
    assert [place.waits_for for place in waiting] == ["b: all 2 places are taken"] * 3
    crowd.go(running[0])
    assert [place.destination for place in waiting] == ["b", None, None]
    assert waiting[0].wake.is_set()
    assert not waiting[1].wake.is_set()


def test_where_the_attempt_before_was_is_avoided_only_while_another_one_answers() -> None:
    crowd = Crowd()
    held = [crowd.come(needs(destination="b")) for _ in range(2)]
    again = crowd.come(needs()._replace(avoids="a"))
    assert again.waits_for == "b: all 2 places are taken; a: the attempt before was there"
    crowd.closed["b"] = "away"
    crowd.places.settle()
    assert again.destination == "a"
    crowd.places.give_back(again)  # it did not answer
    crowd.closed = {"a": "away"}
    crowd.places.settle()
    assert again.waits_for == "b: all 2 places are taken; a: the attempt before was there"
    crowd.go(held[0])
    assert again.destination == "b"
    assert again.why == "a cannot take it: the attempt before was there"


def test_where_the_attempt_before_was_it_goes_again_if_no_other_one_can_ever_take_it() -> None:
    assert Crowd().come(needs(8)._replace(avoids="a")).destination == "a"


def test_a_large_task_that_waits_lets_small_ones_pass_elsewhere_and_here() -> None:
    crowd = Crowd()
    crowd.come(needs(4, destination="a"))
    large = crowd.come(needs(8))
    assert large.waits_for == "a: 8 of its 8 cores must become free"
    small = [crowd.come(needs(1, destination=name)) for name in ("a", "b")]
    assert [place.destination for place in small] == ["a", "b"]


def test_a_place_is_kept_at_one_destination_only_and_another_one_if_that_is_away() -> None:
    crowd = Crowd()
    held = [crowd.come(needs(1, destination=name)) for name in ("a", "b")]
    large = crowd.come(needs(4, 3000))
    crowd.go(large)
    large = crowd.come(needs(4, destination="b"))
    for _ in range(OVERTAKES):
        crowd.go(crowd.come(needs(1, destination="b")))
    late = crowd.come(needs(1, destination="b"))
    assert late.waits_for == "b: it is kept free for a task that was passed often"
    assert crowd.come(needs(1)).destination == "a"
    crowd.go(held[1])
    assert large.destination == "b"


def test_what_no_destination_can_take_is_hopeless_and_does_not_wait() -> None:
    crowd = Crowd()
    place = crowd.come(needs(9))
    assert place.is_hopeless
    assert set(place.refused) == set(SITES)
    assert not crowd.places.waiting_count


def test_the_reason_names_what_was_refused() -> None:
    crowd = Crowd()
    assert crowd.come(needs(6)).why == (
        "b cannot take it: cpu_cores: 6 is more than the 4 that one task can have there"
    )
    assert crowd.come(needs(1, destination="a")).why == "the task names it"


def test_a_place_that_is_given_back_is_given_again_with_its_age() -> None:
    crowd = Crowd()
    first, second = (crowd.come(needs(destination="b")) for _ in range(2))
    third = crowd.come(needs(destination="b"))
    crowd.places.give_back(first)
    assert crowd.places.free() == 3 + 1
    crowd.places.settle()
    assert (first.destination, second.destination, third.destination) == ("b", "b", None)


def test_tasks_that_are_taken_over_count_even_above_the_limits() -> None:
    crowd = Crowd()
    taken = [crowd.places.occupy(f"x{at}", needs(), asyncio.Event(), "b") for at in range(3)]
    assert crowd.places.free() == 3
    assert crowd.come(needs(destination="b")).waits_for == "b: all 2 places are taken"
    assert crowd.places.leave(taken[0])
    assert not crowd.places.leave(taken[0])
    assert crowd.places.loads["b"].jobs == 2
