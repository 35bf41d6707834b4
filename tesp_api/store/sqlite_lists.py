"""Lists of tasks, newest first, without looking at many more tasks than are shown.

A list follows one *walk*: an index that holds one filter's matches in the order of ids, so that a page
is read from where the last one ended and nothing is sorted. The other filters are checked task by task.
With several filters the walk with the fewest matches is taken, counted up to a limit; beyond that, the one
whose matches are sparsest among the newest tasks. A name prefix has no such order: few matches are sorted
by id; where there are many, another walk meets them soon, unless all of them are old.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from tesp_api.store.base import TaskQuery
from tesp_api.store.page_token import task_id_in
from tesp_api.store.sqlite_rows import to_bytes
from tesp_api.tes.states import State

COUNTING_LIMIT = 5000
"""Matches of a filter beyond which it counts as "many"; so many index entries are read in about 1 ms."""

# NOT INDEXED would not do: in tables without rowid SQLite ignores it.
_PRIMARY_KEY = "sqlite_autoindex_tasks_1"
_TAGGED_TASK = " CROSS JOIN tasks AS t ON t.id = walked.task_id"


@dataclass(frozen=True, slots=True)
class _Filter:
    """A condition on `t`, a row of tasks. Filters are told apart by identity."""

    sql: str
    parameters: tuple[str | bytes, ...]


@dataclass(frozen=True, slots=True)
class _Walk:
    """A way through an index in the order of ids: its branches are merged, each in that order itself.

    `answers` are the filters that need no check on this way. Only a walk that `sorts` has no such order.
    """

    table: str
    id_column: str
    branches: tuple[_Filter, ...]
    join: str = ""
    answers: tuple[_Filter, ...] = ()
    sorts: bool = False


def read_states(connection: sqlite3.Connection, query: TaskQuery, limit: int) -> list[tuple[str, State]]:
    """Ids and states of the first `limit` tasks of the query, from its page token on.

    Raises:
        InvalidRequest: the page token is not one.
    """
    before = None if query.after is None else task_id_in(query.after)
    if query.states is not None and not query.states:
        return []
    filters = _Filters(query)
    walk = _choose(connection, filters.walks(), before)
    sql, parameters = _page_statement(walk, filters.besides(walk), before, limit)
    return [(task_id, State(state)) for task_id, state in connection.execute(sql, parameters)]


class _Filters:
    """What a query asks for, as conditions and as walks."""

    def __init__(self, query: TaskQuery) -> None:
        states = tuple(sorted(query.states or ()))
        self._states = states
        self.state = _Filter(f"t.state IN ({','.join('?' * len(states))})", states) if states else None
        self.owner = None if query.owner is None else _Filter("t.owner = ?", (query.owner,))
        self.name = _prefixed(query.name_prefix) if query.name_prefix else None
        self.tags = {tag: _tagged(*tag) for tag in query.tags}

    def besides(self, walk: _Walk) -> list[_Filter]:
        """The filters that `walk` leaves to be checked."""
        every = (self.state, self.owner, self.name, *self.tags.values())
        answered = {id(one) for one in walk.answers}
        return [one for one in every if one is not None and id(one) not in answered]

    def walks(self) -> Iterator[_Walk]:
        """Every walk that answers a filter, or the one through all tasks if none does in the order of ids."""
        for tag, answer in self.tags.items():
            yield _tag_walk(tag, answer)
        if self.owner and self.state:
            branches = tuple(
                _Filter("t.owner = ? AND t.state = ?", (*self.owner.parameters, one)) for one in self._states
            )
            yield _task_walk("tasks_by_owner_state", branches, self.owner, self.state)
        elif self.owner:
            yield _task_walk("tasks_by_owner", (self.owner,), self.owner)
        elif self.state:
            branches = tuple(_Filter("t.state = ?", (one,)) for one in self._states)
            yield _task_walk("tasks_by_state", branches, self.state)
        if self.name:
            by_name = "tasks AS t INDEXED BY tasks_by_name"
            yield _Walk(by_name, "t.id", (self.name,), answers=(self.name,), sorts=True)
        if not (self.tags or self.owner or self.state):
            yield _Walk(f"tasks AS t INDEXED BY {_PRIMARY_KEY}", "t.id", (_Filter("1", ()),))


def _task_walk(index: str, branches: tuple[_Filter, ...], *answers: _Filter) -> _Walk:
    return _Walk(f"tasks AS t INDEXED BY {index}", "t.id", branches, answers=answers)


def _tag_walk(tag: tuple[str, str], answer: _Filter) -> _Walk:
    key, value = tag
    if value:
        table = "tags AS walked INDEXED BY sqlite_autoindex_tags_1"
        branch = _Filter("walked.key = ? AND walked.value = ?", (to_bytes(key), to_bytes(value)))
    else:
        table = "tags AS walked INDEXED BY tags_by_key"
        branch = _Filter("walked.key = ?", (to_bytes(key),))
    return _Walk(table, "walked.task_id", (branch,), join=_TAGGED_TASK, answers=(answer,))


def _tagged(key: str, value: str) -> _Filter:
    some = "EXISTS (SELECT 1 FROM tags AS g WHERE g.key = ? AND g.task_id = t.id"
    if value:
        return _Filter(f"{some} AND g.value = ?)", (to_bytes(key), to_bytes(value)))
    return _Filter(f"{some})", (to_bytes(key),))


def _prefixed(prefix: str) -> _Filter:
    """Names in the range that begins with the prefix; no byte of UTF-8 is 0xFF, so the last one can grow."""
    first = to_bytes(prefix)
    beyond = first[:-1] + bytes([first[-1] + 1])
    return _Filter("t.name >= ? AND t.name < ?", (first, beyond))


def _choose(connection: sqlite3.Connection, walks: Iterator[_Walk], before: str | None) -> _Walk:
    """The walk with the fewest matches; of walks with many, the one whose matches are farthest apart."""
    candidates = list(walks)
    if len(candidates) == 1:
        return candidates[0]
    counted = [(_count(connection, walk, before), walk) for walk in candidates]
    fewest, rarest = min(counted, key=lambda pair: pair[0])
    if fewest <= COUNTING_LIMIT:
        return rarest
    ordered = [walk for walk in candidates if not walk.sorts]
    return (
        ordered[0] if len(ordered) == 1 else min(ordered, key=lambda walk: _reach(connection, walk, before))
    )


def _count(connection: sqlite3.Connection, walk: _Walk, before: str | None) -> int:
    """How many entries the walk has from `before` on; COUNTING_LIMIT + 1 stands for all larger numbers."""
    total = 0
    for branch in walk.branches:
        where, parameters = _where(walk, [branch], before)
        one = f"SELECT 1 FROM {walk.table} WHERE {where} LIMIT {COUNTING_LIMIT + 1 - total}"  # noqa: S608
        total += connection.execute(f"SELECT count(*) FROM ({one})", parameters).fetchone()[0]  # noqa: S608
        if total > COUNTING_LIMIT:
            break
    return total


def _reach(connection: sqlite3.Connection, walk: _Walk, before: str | None) -> str:
    """The id to which COUNTING_LIMIT steps of the walk lead: the older, the sparser the walk."""
    branches = []
    parameters: list[str | bytes] = []
    for branch in walk.branches:
        where, used = _where(walk, [branch], before)
        branches.append(f"SELECT {walk.id_column} AS id FROM {walk.table} WHERE {where}")  # noqa: S608
        parameters += used
    sql = f"{' UNION ALL '.join(branches)} ORDER BY 1 DESC LIMIT 1 OFFSET {COUNTING_LIMIT}"
    reached: str = connection.execute(sql, parameters).fetchone()[0]
    return reached


def _page_statement(
    walk: _Walk, checked: list[_Filter], before: str | None, limit: int
) -> tuple[str, list[str | bytes | int]]:
    branches = []
    parameters: list[str | bytes | int] = []
    for branch in walk.branches:
        where, used = _where(walk, [branch, *checked], before)
        branches.append(
            f"SELECT {walk.id_column} AS id, t.state FROM {walk.table}{walk.join} WHERE {where}"  # noqa: S608
        )
        parameters += used
    return f"{' UNION ALL '.join(branches)} ORDER BY 1 DESC LIMIT ?", [*parameters, limit]


def _where(walk: _Walk, filters: list[_Filter], before: str | None) -> tuple[str, list[str | bytes]]:
    conditions = [one.sql for one in filters]
    parameters = [parameter for one in filters for parameter in one.parameters]
    if before is not None:
        conditions.append(f"{walk.id_column} < ?")
        parameters.append(before)
    return " AND ".join(conditions), parameters
