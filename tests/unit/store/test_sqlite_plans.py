"""How SQLite answers: every list by an index in the order of ids, every question of the runner by its own."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tesp_api.store import (
    sqlite_changes,
    sqlite_claims,
    sqlite_counts,
    sqlite_creation,
    sqlite_glimpses,
    sqlite_lists,
    sqlite_logs,
    sqlite_removal,
    sqlite_rows,
)
from tesp_api.store.base import OnceKey, TaskQuery
from tesp_api.store.sqlite_logs import LogKey
from tesp_api.store.sqlite_schema import connect, migrate
from tesp_api.tes.states import State
from tests.factories import make_task

ONE_STATE = frozenset({State.RUNNING})
STATES = frozenset({State.RUNNING, State.QUEUED, State.COMPLETE})


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = connect(tmp_path / "test.sqlite3")
    migrate(connection)
    yield connection
    connection.close()


def plans(db: sqlite3.Connection, query: TaskQuery) -> list[list[str]]:
    """The plans of all statements that a list runs."""
    statements: list[str] = []
    db.set_trace_callback(statements.append)
    sqlite_lists.read_page(db, query)
    db.set_trace_callback(None)
    return [plan(db, statement) for statement in statements]


def plan(db: sqlite3.Connection, statement: str) -> list[str]:
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}")]


OWNER_STATE = "tasks_by_owner_state (owner=? AND state=? AND id<?"
TAG = "walked USING PRIMARY KEY (key=? AND value=? AND task_id<?"

SHAPES = {
    "all": (TaskQuery(), "t USING PRIMARY KEY (id<?"),
    "state": (TaskQuery(states=ONE_STATE), "tasks_by_state (state=? AND id<?"),
    "states": (TaskQuery(states=STATES), "tasks_by_state (state=? AND id<?"),
    "owner": (TaskQuery(owner="a"), "tasks_by_owner (owner=? AND id<?"),
    "owner, states": (TaskQuery(owner="a", states=STATES), OWNER_STATE),
    "tag": (TaskQuery(tags=(("k", "v"),)), TAG),
    "key": (TaskQuery(tags=(("k", ""),)), "tags_by_key (key=? AND task_id<?"),
    "tag, owner": (TaskQuery(tags=(("k", "v"),), owner="a"), TAG),
    "tag, key": (TaskQuery(tags=(("k", "v"), ("l", ""))), TAG),
    "tag, states": (TaskQuery(tags=(("k", "v"),), states=STATES), TAG),
    "destination": (TaskQuery(destination="d"), "tasks_by_destination (went_to=? AND id<?"),
    "destination, states": (
        TaskQuery(destination="d", states=STATES),
        "tasks_by_destination (went_to=? AND id<?",
    ),
}


@pytest.fixture
def filled(db: sqlite3.Connection) -> sqlite3.Connection:
    for _ in range(3):
        sqlite_creation.create(db, make_task(owner="a", tags={"k": "v", "l": "m"}), None)
    return db


@pytest.mark.parametrize("shape", SHAPES)
def test_a_list_walks_an_index_in_the_order_of_ids(filled: sqlite3.Connection, shape: str) -> None:
    query, expected = SHAPES[shape]
    every = plans(filled, query)
    assert any(expected in step for step in every[-1]), every[-1]
    for step in (step for steps in every for step in steps):
        assert "TEMP B-TREE" not in step
        assert not step.startswith("SCAN")


def test_a_list_by_tag_looks_at_nothing_but_the_tags(filled: sqlite3.Connection) -> None:
    for query in (SHAPES["tag"][0], SHAPES["key"][0]):
        assert [len(steps) for steps in plans(filled, query)] == [1]


@pytest.mark.parametrize("other", [TaskQuery(), TaskQuery(owner="a"), TaskQuery(tags=(("k", "v"),))])
def test_names_are_looked_up_in_a_range(
    filled: sqlite3.Connection, other: TaskQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = replace(other, name_prefix="he", page_size=1)
    rare = [step for steps in plans(filled, query) for step in steps]
    assert any("tasks_by_name (name>? AND name<?)" in step for step in rare)
    monkeypatch.setattr(sqlite_lists, "LEAST_STRETCH", 1)
    for number in range(10):
        sqlite_creation.create(filled, make_task(name=f"he{number}", owner="a", tags={"k": "v"}), None)
    common = [step for steps in plans(filled, query) for step in steps]
    assert any("tasks_by_generation (generation=? AND name>? AND name<?)" in step for step in common)
    assert not any("SCAN t" in step or "SCAN n" in step for step in rare + common)


def test_a_minimal_list_reads_no_documents(db: sqlite3.Connection) -> None:
    for query, _ in SHAPES.values():
        statements: list[str] = []
        db.set_trace_callback(statements.append)
        sqlite_lists.read_page(db, query)
        db.set_trace_callback(None)
        assert statements
        assert not any("requests" in one or "attempt_logs" in one for one in statements)


def test_the_runners_questions_use_their_indexes(db: sqlite3.Connection) -> None:
    old = plan(db, sqlite_claims._FREE_OLD.replace(":now", "1"))
    expired = plan(db, sqlite_claims._FREE_EXPIRED_NEW.replace(":now", "1"))
    heads = plan(db, sqlite_claims._HEADS)
    new = plan(db, sqlite_claims._OLDEST.replace("?", "1"))
    assert any("tasks_adoptable" in step for step in old), old
    assert any("tasks_by_lease (claim_expires_at<?)" in step for step in old), old
    assert any("tasks_by_lease (claim_expires_at<?)" in step for step in expired), expired
    assert sum("tasks_waiting_by_owner (owner" in step for step in heads) == 2, heads
    assert not any("TEMP B-TREE" in step for step in heads + new)
    assert any("tasks_waiting_by_owner (owner=? AND id>?)" in step for step in new), new
    renewing = plan(db, "UPDATE tasks SET claim_expires_at = 1 WHERE claim_owner = 'a'")
    assert any("tasks_by_claim (claim_owner=?)" in step for step in renewing), renewing
    canceling = plan(db, sqlite_claims._CANCELING.replace("?", "'a'"))
    assert any("tasks_by_state (state=?)" in step for step in canceling), canceling


ONCE = OnceKey("k", "digest")
FEW = ("SCAN runs USING INDEX runs_to_do", "SCAN state_counts USING INDEX state_counts_shared")
QUESTIONS: dict[str, Callable[[sqlite3.Connection, str], object]] = {
    "create": lambda db, _: sqlite_creation.create(db, make_task(tags={"k": "v"}), None),
    "create once": lambda db, _: sqlite_creation.create(db, make_task(), ONCE),
    "state": sqlite_rows.read_glance,
    "get": lambda db, task_id: sqlite_rows.read_tasks(db, [task_id]),
    "page": lambda db, _: sqlite_lists.read_whole_page(db, TaskQuery(page_size=2)),
    "history": sqlite_rows.read_history,
    "listed": lambda db, task_id: sqlite_glimpses.read_listed(db, [task_id, "x"]),
    "changed": lambda db, task_id: sqlite_glimpses.read_changed(db, {task_id: 1, "x": 2}),
    "counts": lambda db, _: sqlite_counts.read_counts(db, None, ()),
    "counts of a user": lambda db, _: sqlite_counts.read_counts(db, "a", ("g",)),
    "log": lambda db, task_id: sqlite_logs.read_part(db, LogKey(task_id, 1, 0, "stdout"), -5, 5),
    "log size": lambda db, task_id: sqlite_logs.read_size(db, LogKey(task_id, 1, 0, "stdout")),
    "cancel": lambda db, task_id: sqlite_changes.cancel(db, task_id, "why", 1),
    "delete": sqlite_removal.delete,
    "purge": lambda db, _: sqlite_removal.purge(db, 10, 1),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_apis_other_questions_look_nothing_up_by_going_through_a_table(
    filled: sqlite3.Connection, question: str
) -> None:
    task_id = str(sqlite_creation.create(filled, make_task(tags={"k": "v"}), ONCE))
    if question in ("delete", "purge"):
        filled.execute("UPDATE tasks SET state = 'CANCELED', live = 0, ended_at = 1")
    statements: list[str] = []
    filled.set_trace_callback(statements.append)
    QUESTIONS[question](filled, task_id)
    filled.set_trace_callback(None)
    steps = [(step, statement) for statement in statements for step in plan(filled, statement)]
    assert statements
    for step, statement in steps:
        # of runs that have not ended, and of users with groups, there are few: these indexes have no others
        assert "SCAN" not in step or step.startswith(FEW), statement
        assert "TEMP B-TREE" not in step, statement
