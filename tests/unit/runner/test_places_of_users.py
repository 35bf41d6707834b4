"""Tasks of several users that wait: they take turns, and no one's queue keeps another's task."""

import asyncio
from collections import Counter

from tesp_api.runner.needs import Needs
from tesp_api.runner.places import Place, Places
from tesp_api.settings import DestinationSettings

OVERTAKES = 3
SITES = {"a": DestinationSettings(max_running=4, max_cores=4)}


def needs(cores: int = 1) -> Needs:
    return Needs(cores, 1000, None, False, frozenset(), None, None, frozenset(SITES), ())


class Users:
    """Users whose tasks come, run one after the other, and go."""

    def __init__(self, overtakes_max: int = OVERTAKES, max_running: int = 4) -> None:
        sites = {"a": SITES["a"].model_copy(update={"max_running": max_running})}
        self.places = Places(sites, dict, overtakes_max)
        self.all: list[Place] = []

    def send(self, owner: str, count: int = 1, cores: int = 1) -> list[Place]:
        """So many tasks at once, which then wait or run."""
        sent = [
            self.places.enter(f"{len(self.all) + number:05d}", needs(cores), asyncio.Event(), owner)
            for number in range(count)
        ]
        self.all += sent
        self.places.settle()
        return sent

    def end(self, place: Place) -> None:
        self.places.leave(place)
        place.wake.clear()
        self.places.settle()

    @property
    def running(self) -> list[Place]:
        return [place for place in self.all if place.destination]

    def began_before(self, wanted: Place, *, most: int = 1000) -> list[Place]:
        """End the oldest that runs, again and again, until `wanted` has a place; who began until then."""
        at_first = set(self.running)
        for _ in range(most):
            if wanted.destination:
                break
            self.end(self.running[0])
        assert wanted.destination
        return [place for place in self.all if place.why and place not in at_first and place is not wanted]

    def use(self) -> dict[str, int]:
        return dict(Counter(place.owner for place in self.running))


def test_anothers_one_task_does_not_wait_for_ten_thousand() -> None:
    for max_running in (1, 4):
        users = Users(max_running=max_running)
        users.send("alice", 1000)
        (one,) = users.send("bob")
        users.end(users.running[0])
        assert one.destination, max_running


def test_users_who_always_have_tasks_have_equal_parts() -> None:
    users = Users()
    users.send("alice", 50)
    users.send("bob", 50)
    for _ in range(4):
        users.end(users.running[0])
    assert users.use() == {"alice": 2, "bob": 2}
    users.send("carol", 50)
    users.send("dave", 50)
    for _ in range(20):
        users.end(users.running[0])
    assert users.use() == {"alice": 1, "bob": 1, "carol": 1, "dave": 1}


def test_cores_count_and_not_tasks() -> None:
    users = Users()
    users.send("alice", 20, cores=2)
    users.send("bob", 20)
    for _ in range(10):
        users.end(users.running[0])
    assert users.use() == {"alice": 1, "bob": 2}


def test_each_users_own_order_stays() -> None:
    users = Users()
    sent = {owner: users.send(owner, 20) for owner in ("alice", "bob", "carol")}
    began: list[Place] = []
    while running := users.running:
        began += [place for place in running if place not in began]
        users.end(running[-1])
    for owner, tasks in sent.items():
        assert [place for place in began if place.owner == owner] == tasks


def test_who_waits_knows_that_others_come_first() -> None:
    users = Users()
    waiting = users.send("alice", 5)[-1]
    assert not waiting.comes_later
    (others,) = users.send("bob")
    assert (waiting.comes_later, others.comes_later) == (True, False)
    assert waiting.waits_for == others.waits_for == "a: all 4 places are taken"
    users.end(others)
    users.places.settle()
    assert waiting.waits_for == "a: all 4 places are taken"


def test_a_large_task_among_others_small_ones_is_waited_for_at_last() -> None:
    for overtakes_max in (0, OVERTAKES):
        users = Users(overtakes_max)
        users.send("bob", 200)
        (large,) = users.send("alice", cores=4)
        assert len(users.began_before(large)) <= overtakes_max + 4


def test_many_large_tasks_of_one_user_are_not_waited_for_in_a_row() -> None:
    for overtakes_max in (0, OVERTAKES):
        users = Users(overtakes_max)
        users.send("alice", 100, cores=4)
        for _ in range(5):
            (one,) = users.send("bob")
            assert len(users.began_before(one)) <= 2, overtakes_max
            users.end(one)
