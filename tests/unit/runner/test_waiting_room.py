"""How many tasks of whom are held while they wait."""

from collections import Counter

from tesp_api.runner.waiting_room import room_of

MOST = 1000


def come(users: dict[str, int], waiting: Counter[str] | None = None) -> Counter[str]:
    """Who has how many once each user, in this order, has as many as are let in of so many."""
    waiting = waiting or Counter()
    for owner, count in users.items():
        for _ in range(count):
            if room_of(waiting[owner], +waiting, MOST) <= 0:
                break
            waiting[owner] += 1
    return +waiting


def test_one_user_may_fill_the_room_and_others_have_a_twentieth() -> None:
    waiting = come({"alice": 10_000, "bob": 10_000, "carol": 10_000})
    assert waiting == {"alice": MOST, "bob": MOST // 20, "carol": MOST // 20}
    assert room_of(MOST, waiting, MOST) == 0


def test_a_thousand_users_are_held_in_twice_the_room_and_one_of_each() -> None:
    waiting = come({f"user {number}": 50 for number in range(1000)})
    assert len(waiting) == 1000
    assert waiting.total() <= 2 * MOST + 1000
    waiting = come({f"late {number}": 50 for number in range(1000)}, waiting)
    assert len(waiting) == 2000
    assert waiting.total() <= 2 * MOST + 2000


def test_a_room_of_one_has_a_place_for_everybody() -> None:
    for waiting in (Counter(), Counter(alice=1), Counter(alice=1, bob=1, carol=1)):
        assert room_of(0, waiting, 1) >= 1
    assert room_of(1, Counter(alice=1, bob=1, carol=1), 1) == 0
