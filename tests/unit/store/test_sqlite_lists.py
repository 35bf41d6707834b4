"""Lists in SQLite: no page costs more than a small multiple of itself, and all pages together are right.

Stretches and generations are made small, so that a few thousand tasks are many of them.
"""

import itertools
import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tesp_api.store import sqlite_creation, sqlite_lists, sqlite_removal
from tesp_api.store.base import Task, TaskQuery
from tesp_api.store.sqlite_changes import cancel
from tesp_api.store.sqlite_schema import connect, migrate
from tesp_api.tes.states import State
from tests.factories import make_task

TASKS = 3000
PAGE = 20
STRETCH = 2 * (PAGE + 1)
GENERATION = 64

STEPS_PER_TASK = 60
"""Instructions of SQLite's machine per task looked at, with room: a check of two filters takes about 30."""

MOST_STEPS = STEPS_PER_TASK * (STRETCH * sqlite_lists.MOST_STRETCHES + 4 * GENERATION)


@dataclass
class Kept:
    db: sqlite3.Connection
    tasks: list[Task]
    states: dict[str, State]

    def expected(self, query: TaskQuery) -> list[str]:
        """By brute force."""
        return [task.id for task in reversed(self.tasks) if self._matches(task, query)]

    def _matches(self, task: Task, query: TaskQuery) -> bool:
        tags = task.request["tags"]
        return (
            (query.states is None or self.states[task.id] in query.states)
            and (query.owner is None or task.owner == query.owner)
            and (not query.destination or query.destination == destination_of(task))
            and task.request["name"].startswith(query.name_prefix)
            and all(key in tags and value in ("", tags[key]) for key, value in query.tags)
        )


def destination_of(task: Task) -> str | None:
    """A common one, whose tasks lie in the older half, and a rare one."""
    if task.request["tags"].get("rare"):
        return "rare"
    return "common" if task.request["tags"]["half"] == "old" else None


def one_task(number: int) -> Task:
    """Half of everything lies in the older half, the other in the newer one; some things take turns."""
    newer = number >= TASKS // 2
    tags = {"half": "new" if newer else "old", "turn": "even" if number % 2 == 0 else "odd"}
    if number % 97 == 0:
        tags["rare"] = "yes"
    name = f"{'late' if newer else 'early'}-{number % 7}-{number:05d}"
    return make_task(name=name, owner="alice" if number % 3 else "bob", tags=tags)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_creation, "GENERATION_TASKS", GENERATION)
        db = connect(tmp_path_factory.mktemp("lists") / "db")
        migrate(db)
        tasks = [one_task(number) for number in range(TASKS)]
        states = dict.fromkeys((task.id for task in tasks), State.QUEUED)
        db.execute("BEGIN")
        for number, task in enumerate(tasks):
            sqlite_creation.create(db, task, None)
            if number % 4 == 1 or number < 200:
                states[task.id] = cancel(db, task.id, "", 0)
            db.execute("UPDATE tasks SET went_to = ? WHERE id = ?", (destination_of(task), task.id))
        db.execute("COMMIT")
        yield Kept(db, tasks, states)
        db.close()


@pytest.fixture(autouse=True)
def small_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_lists, "LEAST_STRETCH", 1)


def steps_of(db: sqlite3.Connection, read: Callable[[], object]) -> int:
    """The instructions of SQLite's machine that `read` takes."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    db.set_progress_handler(count, 1)
    read()
    db.set_progress_handler(None, 1)
    return steps


QUEUED, CANCELING = frozenset({State.QUEUED}), frozenset({State.CANCELING})
QUERIES = {
    "all": TaskQuery(),
    "tag": TaskQuery(tags=(("turn", "odd"),)),
    "rare tag": TaskQuery(tags=(("rare", "yes"),)),
    "key": TaskQuery(tags=(("half", ""),)),
    "state": TaskQuery(states=QUEUED),
    "states": TaskQuery(states=QUEUED | CANCELING),
    "owner": TaskQuery(owner="bob"),
    "owner and state": TaskQuery(owner="bob", states=CANCELING),
    "common name": TaskQuery(name_prefix="la"),
    "old name": TaskQuery(name_prefix="early-"),
    "rarer name": TaskQuery(name_prefix="early-3"),
    "one name": TaskQuery(name_prefix="early-3-00003"),
    "no name": TaskQuery(name_prefix="x"),
    "halves that never meet": TaskQuery(tags=(("half", "new"), ("half", "old"))),
    "turns that never meet": TaskQuery(tags=(("turn", "even"), ("turn", "odd"))),
    "state and tag that hardly meet": TaskQuery(tags=(("turn", "odd"),), states=CANCELING),
    "state and tag that meet early on": TaskQuery(tags=(("turn", "even"),), states=CANCELING),
    "old tag, new name": TaskQuery(tags=(("half", "old"),), name_prefix="late"),
    "old tag, old name": TaskQuery(tags=(("half", "old"),), name_prefix="early-5"),
    "name and state": TaskQuery(name_prefix="early", states=CANCELING),
    "name and owner": TaskQuery(name_prefix="early-2", owner="bob"),
    "destination": TaskQuery(destination="common"),
    "rare destination": TaskQuery(destination="rare"),
    "no destination": TaskQuery(destination="elsewhere"),
    "destination and state": TaskQuery(destination="common", states=CANCELING),
    "destination and tag that never meet": TaskQuery(destination="common", tags=(("half", "new"),)),
    "destination and name": TaskQuery(destination="rare", name_prefix="early"),
    "everything": TaskQuery(
        states=QUEUED, name_prefix="e", tags=(("turn", "even"), ("rare", ""), ("half", "old")), owner="alice"
    ),
}


@pytest.mark.parametrize("name", QUERIES)
def test_pages_are_cheap_and_together_right(kept: Kept, name: str) -> None:
    query = replace(QUERIES[name], page_size=PAGE)
    seen: list[str] = []
    token: str | None = None
    for turn in range(TASKS):
        page = replace(query, after=token)
        steps = steps_of(kept.db, lambda page=page: sqlite_lists.read_page(kept.db, page))  # type: ignore[misc]
        assert steps <= MOST_STEPS, f"page {turn} took {steps} steps"
        found = sqlite_lists.read_page(kept.db, page)
        assert len(found.items) <= PAGE
        assert all(kept.states[task_id] == state for task_id, state in found.items)
        seen += [task_id for task_id, _ in found.items]
        if (token := found.next_token) is None:
            break
    assert token is None
    assert seen == kept.expected(query)


@pytest.mark.parametrize(
    "name", ["all", "tag", "key", "state", "states", "owner", "owner and state", "common name"]
)
def test_a_page_of_one_filter_is_full(kept: Kept, name: str) -> None:
    page = sqlite_lists.read_page(kept.db, replace(QUERIES[name], page_size=PAGE))
    assert len(page.items) == PAGE


def test_filters_that_never_meet_in_time_are_leapt_over(kept: Kept) -> None:
    for name in ("halves that never meet", "old tag, new name"):
        assert sqlite_lists.read_page(kept.db, replace(QUERIES[name], page_size=PAGE)).next_token is None


def test_any_filters_together_are_right(kept: Kept) -> None:
    choices = random.Random(7)
    for _ in range(150):
        query = TaskQuery(
            states=choices.choice([None, None, QUEUED, CANCELING, QUEUED | CANCELING]),
            name_prefix=choices.choice(["", "", "e", "late", "late-6", "early-1-0", "late-2-02990"]),
            tags=tuple(
                choices.sample(
                    [("half", "old"), ("half", ""), ("turn", "odd"), ("rare", "yes"), ("rare", "")],
                    choices.choice([0, 0, 1, 2]),
                )
            ),
            owner=choices.choice([None, None, "alice", "bob"]),
            page_size=choices.choice([1, 7, 100]),
        )
        seen: list[str] = []
        page = sqlite_lists.read_page(kept.db, query)
        while True:
            seen += [task_id for task_id, _ in page.items]
            if page.next_token is None or len(seen) > 400:
                break
            page = sqlite_lists.read_page(kept.db, replace(query, after=page.next_token))
        assert seen == kept.expected(query)[: len(seen) if page.next_token else None], query


def test_generations_are_runs_of_ids(kept: Kept) -> None:
    runs = kept.db.execute(
        "SELECT g.number, g.first_id, g.tasks, count(t.id), min(t.id), max(t.id)"
        " FROM generations AS g JOIN tasks AS t ON t.generation = g.number GROUP BY 1 ORDER BY 2"
    ).fetchall()
    assert len(runs) == -(-TASKS // GENERATION)
    assert [run[2] for run in runs] == [run[3] for run in runs]
    assert all(first <= least for _, first, _, _, least, _ in runs)
    assert all(one[5] < other[1] for one, other in itertools.pairwise(runs))


def test_tasks_that_come_late_join_the_generation_of_their_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_creation, "GENERATION_TASKS", 3)
    db = connect(tmp_path / "db")
    migrate(db)
    made = [make_task(name=f"n{number}") for number in range(40)]
    random.Random(3).shuffle(made)
    for task in made:
        sqlite_creation.create(db, task, None)
    newest_first = sorted((task.id for task in made), reverse=True)

    def listed() -> list[str]:
        return [task_id for task_id, _ in sqlite_lists.read_page(db, TaskQuery(name_prefix="n")).items]

    assert listed() == newest_first
    db.execute("UPDATE tasks SET state = 'CANCELED', live = 0")
    for task_id in newest_first[::2]:
        sqlite_removal.delete(db, task_id)
    assert listed() == newest_first[1::2]
    for task_id in newest_first[1::2]:
        sqlite_removal.delete(db, task_id)
    assert db.execute("SELECT number, first_id, tasks FROM generations").fetchall() == [(0, "", 0)]
    sqlite_creation.create(db, made[0], None)
    assert listed() == [made[0].id]
    db.close()
