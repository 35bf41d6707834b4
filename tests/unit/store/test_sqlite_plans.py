"""How SQLite answers: every list by an index in the order of ids, every question of the runner by its own."""

import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tesp_api.store import sqlite_claims, sqlite_creation, sqlite_lists
from tesp_api.store.base import TaskQuery
from tesp_api.store.page_token import token_after
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
    """The plans of all statements that a list runs, the page's last."""
    statements: list[str] = []
    db.set_trace_callback(statements.append)
    sqlite_lists.read_states(db, query, 257)
    db.set_trace_callback(None)
    return [plan(db, statement) for statement in statements]


def plan(db: sqlite3.Connection, statement: str) -> list[str]:
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}")]


SHAPES = {
    "all": (TaskQuery(), "SCAN t"),
    "state": (TaskQuery(states=ONE_STATE), "tasks_by_state (state=?"),
    "states": (TaskQuery(states=STATES), "tasks_by_state (state=?"),
    "owner": (TaskQuery(owner="a"), "tasks_by_owner (owner=?"),
    "owner, states": (TaskQuery(owner="a", states=STATES), "tasks_by_owner_state (owner=? AND state=?"),
    "tag": (TaskQuery(tags=(("k", "v"),)), "walked USING PRIMARY KEY (key=? AND value=?"),
    "key": (TaskQuery(tags=(("k", ""),)), "tags_by_key (key=?"),
    "tag, owner": (TaskQuery(tags=(("k", "v"),), owner="a"), "walked USING PRIMARY KEY (key=? AND value=?"),
    "tag, key": (TaskQuery(tags=(("k", "v"), ("l", ""))), "walked USING PRIMARY KEY (key=? AND value=?"),
    "tag, states": (
        TaskQuery(tags=(("k", "v"),), states=STATES),
        "walked USING PRIMARY KEY (key=? AND value=?",
    ),
}


@pytest.mark.parametrize(("later", "shape"), itertools.product((False, True), SHAPES))
def test_a_list_walks_an_index_in_the_order_of_ids(db: sqlite3.Connection, later: bool, shape: str) -> None:
    query, expected = SHAPES[shape]
    if later:
        query = TaskQuery(query.states, query.name_prefix, query.tags, query.owner, after=token_after("x"))
        expected = "t USING PRIMARY KEY (id<?)" if shape == "all" else expected
    *counts, page = plans(db, query)
    assert any(expected in step for step in page), page
    assert not any("TEMP B-TREE" in step for steps in (*counts, page) for step in steps)
    # "SCAN t" without a condition is the walk through all tasks, which a limit ends; "CO-ROUTINE" and
    # "SCAN (subquery)" are the outside of a count.
    allowed = {"SCAN t"} if shape == "all" else {"SCAN (subquery-1)", "SCAN SUBQUERY 1", "SCAN 1"}
    scans = {step for steps in (*counts, page) for step in steps if step.startswith("SCAN")}
    assert scans <= allowed
    if shape not in ("all",) and len(query.states or ()) < 2 and later:
        assert "<?)" in next(step for step in page if expected in step), "a page begins where the last ended"


def test_a_rare_name_is_found_by_name_and_a_common_one_by_walking(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_lists, "COUNTING_LIMIT", 10)
    for number in range(30):
        sqlite_creation.create(
            db, make_task(name=f"common-{number}" if number % 10 else f"rare-{number}"), None
        )
    rare = plans(db, TaskQuery(name_prefix="rare"))[-1]
    assert any("tasks_by_name (name>? AND name<?" in step for step in rare)
    common = plans(db, TaskQuery(name_prefix="common"))[-1]
    assert common == ["SCAN t"], "all tasks by id, until the page is full"
    with_owner = plans(db, TaskQuery(name_prefix="common", owner=""))[-1]
    assert len(with_owner) == 1
    assert "tasks_by_owner" in with_owner[0]


def test_of_several_filters_the_one_with_the_fewest_matches_is_walked(db: sqlite3.Connection) -> None:
    for number in range(30):
        owner = "rare" if number % 10 == 0 else "common"
        tags = {"color": "common" if number % 10 else "rare", "all": "same"}
        sqlite_creation.create(db, make_task(owner=owner, tags=tags), None)
    by_owner = plans(db, TaskQuery(owner="rare", tags=(("all", "same"),)))[-1]
    assert "tasks_by_owner" in by_owner[0]
    by_tag = plans(db, TaskQuery(owner="common", tags=(("all", "same"), ("color", "rare"))))[-1]
    assert "walked USING PRIMARY KEY" in by_tag[0]


def test_of_common_filters_the_sparsest_is_walked(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_lists, "COUNTING_LIMIT", 3)
    for number in range(30):
        task = make_task(owner="sparse" if number % 6 == 0 else "dense", tags={"all": "same"})
        sqlite_creation.create(db, task, None)
    query = TaskQuery(owner="sparse", tags=(("all", "same"),))
    *asked, page = plans(db, query)
    assert "tasks_by_owner" in page[0]
    assert not any("TEMP B-TREE" in step for steps in asked for step in steps)
    in_states = TaskQuery(owner="sparse", tags=query.tags, states=STATES)
    *asked, page = plans(db, in_states)
    assert any("tasks_by_owner_state" in step for step in page)
    assert not any("TEMP B-TREE" in step for steps in (*asked, page) for step in steps)
    # Near the end of the list few are left, and they are counted.
    found = sqlite_lists.read_states(db, query, 100)
    assert len(found) == 5
    later = TaskQuery(owner="sparse", tags=query.tags, after=token_after(found[2][0]))
    assert sqlite_lists.read_states(db, later, 100) == found[3:]


def test_a_minimal_list_reads_no_documents(db: sqlite3.Connection) -> None:
    for query, _ in SHAPES.values():
        statements: list[str] = []
        db.set_trace_callback(statements.append)
        sqlite_lists.read_states(db, query, 257)
        db.set_trace_callback(None)
        assert statements
        assert not any("requests" in one or "attempt_logs" in one for one in statements)


def test_the_runners_questions_use_their_indexes(db: sqlite3.Connection) -> None:
    old = plan(db, sqlite_claims._FREE_OLD.replace(":now", "1"))
    new = plan(db, sqlite_claims._FREE_NEW.replace(":now", "1").replace(":limit", "1"))
    assert any("tasks_adoptable" in step for step in old), old
    assert any("tasks_by_lease (claim_expires_at<?)" in step for step in old), old
    assert any("tasks_waiting" in step for step in new), new
    assert any("tasks_by_lease (claim_expires_at<?)" in step for step in new), new
    renewing = plan(db, "UPDATE tasks SET claim_expires_at = 1 WHERE claim_owner = 'a'")
    assert any("tasks_by_claim (claim_owner=?)" in step for step in renewing), renewing
