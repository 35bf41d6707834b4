import threading
import time
import uuid

import pytest

from tesp_api.tes import ids


def test_an_id_is_a_uuid_of_version_7_that_carries_the_time() -> None:
    before_ms = time.time_ns() // 1_000_000
    made = uuid.UUID(ids.new_task_id())
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    # Ids made in a hurry may run ahead of the clock, by as little as the random bits overflow.
    assert before_ms <= made.int >> 80 <= time.time_ns() // 1_000_000 + 1


def test_ids_grow() -> None:
    made = [ids.new_task_id() for _ in range(5000)]
    assert made == sorted(set(made))


def test_ids_grow_while_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ids.new_task_id()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    made = [first, *(ids.new_task_id() for _ in range(100))]
    assert made == sorted(set(made))
    assert all(uuid.UUID(one).version == 7 for one in made)


def test_threads_never_get_the_same_id_and_each_sees_its_own_grow() -> None:
    made: dict[int, list[str]] = {}

    def make(number: int) -> None:
        made[number] = [ids.new_task_id() for _ in range(1000)]

    threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(own == sorted(own) for own in made.values())
    assert len(set().union(*made.values())) == 4000
