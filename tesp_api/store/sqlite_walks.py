"""Ways through the tasks, newest first, each along an index that holds one filter's matches.

A walk never sorts what it has not been told to bound: its callers ask how far so many steps lead (`reach`)
before they read that stretch (`read`). Ids bound a stretch: `before` is left out, `down_to` is in it.

Most indexes end in the id, so they are in the order of a list. Names are not: `NameWalk` goes by
*generations*, runs of about 4,096 tasks of one age, within which an index is ordered by name. So the
newest names with a prefix are found by one look per generation, however old they are.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tesp_api.store.base import NEWEST

Parameter = str | bytes | int

_TASK = " CROSS JOIN tasks AS t ON t.id = "


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on a task: `sql` speaks of the columns `{id}` and `{state}`, or of its row `t`."""

    sql: str
    parameters: tuple[Parameter, ...]
    needs_row: bool = False


class Walk(Protocol):
    """One way through the tasks; `answers` are the filters that all tasks on it match."""

    @property
    def answers(self) -> tuple[Filter, ...]: ...

    def ceiling(self, connection: sqlite3.Connection, before: str) -> str | None:
        """An id as low as is cheap to say, below which all its tasks before `before` lie; None: no more."""

    def reach(self, connection: sqlite3.Connection, before: str, steps: int) -> str | None:
        """The id to which `steps` steps lead; None if the walk ends earlier. May go a generation further."""

    def read(
        self,
        connection: sqlite3.Connection,
        checked: Sequence[Filter],
        before: str,
        down_to: str,
        limit: int,
    ) -> list[tuple[str, str]]:
        """The first `limit` ids, with their states, of the stretch that pass what is checked."""


@dataclass(frozen=True, slots=True)
class IndexWalk:
    """Along an index in the order of ids; several branches (states) are merged.

    Where `table` is not that of the tasks, it does not `holds_rows`: a row is then looked up if it is needed.
    """

    table: str
    branches: tuple[Filter, ...]
    answers: tuple[Filter, ...] = ()
    id_column: str = "t.id"
    state_column: str = "t.state"
    holds_rows: bool = True

    def ceiling(self, connection: sqlite3.Connection, before: str) -> str | None:
        newest = self._nth(connection, before, 0)
        return None if newest is None else just_above(newest)

    def reach(self, connection: sqlite3.Connection, before: str, steps: int) -> str | None:
        return self._nth(connection, before, steps - 1)

    def _nth(self, connection: sqlite3.Connection, before: str, number: int) -> str | None:
        selects = [f"SELECT {self.id_column} AS id FROM {self.table}"] * len(self.branches)
        ends = ((f"{self.id_column} < ?", (before,)),)
        sql, parameters = self._merged(selects, ends, ())
        row = connection.execute(f"{sql} LIMIT 1 OFFSET ?", [*parameters, number]).fetchone()
        return None if row is None else str(row[0])

    def read(
        self,
        connection: sqlite3.Connection,
        checked: Sequence[Filter],
        before: str,
        down_to: str,
        limit: int,
    ) -> list[tuple[str, str]]:
        joined = any(one.needs_row for one in checked) and not self.holds_rows
        join = f"{_TASK}{self.id_column}" if joined else ""
        columns = f"{self.id_column} AS id, {self.state_column} AS state"
        selects = [f"SELECT {columns} FROM {self.table}{join}"] * len(self.branches)
        ends = ((f"{self.id_column} < ?", (before,)), (f"{self.id_column} >= ?", (down_to,)))
        sql, parameters = self._merged(selects, ends if down_to else ends[:1], checked)
        return connection.execute(f"{sql} LIMIT ?", [*parameters, limit]).fetchall()

    def _merged(
        self,
        selects: Sequence[str],
        ends: Sequence[tuple[str, tuple[str]]],
        checked: Sequence[Filter],
    ) -> tuple[str, list[Parameter]]:
        parts: list[str] = []
        parameters: list[Parameter] = []
        for select, branch in zip(selects, self.branches, strict=True):
            conditions = [(branch.sql, branch.parameters), *ends]
            conditions += [(self._named(one.sql), one.parameters) for one in checked]
            parts.append(f"{select} WHERE {' AND '.join(sql for sql, _ in conditions)}")
            parameters += [value for _, values in conditions for value in values]
        return f"{' UNION ALL '.join(parts)} ORDER BY 1 DESC", parameters

    def _named(self, sql: str) -> str:
        return sql.format(id=self.id_column, state=self.state_column)


@dataclass(frozen=True, slots=True)
class NameWalk:
    """The tasks whose names lie from `first` up to `beyond`, generation by generation."""

    first: bytes
    beyond: bytes
    answer: Filter

    @property
    def answers(self) -> tuple[Filter, ...]:
        return (self.answer,)

    def ceiling(self, connection: sqlite3.Connection, before: str) -> str | None:
        newest = (
            "SELECT (SELECT min(first_id) FROM generations AS later WHERE later.first_id > g.first_id)"
            f" FROM generations AS g WHERE g.first_id < ? AND EXISTS ({_matches('1')})"
            " ORDER BY g.first_id DESC LIMIT 1"
        )
        row = connection.execute(newest, (before, self.first, self.beyond)).fetchone()
        return None if row is None else min(before, row[0] or NEWEST)

    def reach(self, connection: sqlite3.Connection, before: str, steps: int) -> str | None:
        counts = (
            f"SELECT g.first_id, ({_matches('count(*)')}) FROM generations AS g"
            " WHERE g.first_id < ? ORDER BY g.first_id DESC"
        )
        for first_id, matches in connection.execute(counts, (self.first, self.beyond, before)):
            steps -= matches
            if steps <= 0:
                return str(first_id) or None
        return None

    def is_rare(self, connection: sqlite3.Connection, most: int) -> bool:
        """No more than `most` tasks of any age have such a name."""
        row = connection.execute(
            "SELECT 1 FROM tasks AS t INDEXED BY tasks_by_name WHERE t.name >= ? AND t.name < ?"
            " LIMIT 1 OFFSET ?",
            (self.first, self.beyond, most),
        ).fetchone()
        return row is None

    def read_rare(
        self, connection: sqlite3.Connection, checked: Sequence[Filter], before: str, limit: int
    ) -> list[tuple[str, str]]:
        """Like `read` of all that lies before `before`, by sorting every match."""
        ids = (
            "SELECT n.id FROM tasks AS n INDEXED BY tasks_by_name"
            " WHERE n.name >= ? AND n.name < ? AND n.id < ?"
        )
        return _read_sorted(connection, ids, (self.first, self.beyond, before), checked, limit)

    def read(
        self,
        connection: sqlite3.Connection,
        checked: Sequence[Filter],
        before: str,
        down_to: str,
        limit: int,
    ) -> list[tuple[str, str]]:
        """`down_to` begins a generation: it is what `reach` has said, or ""."""
        ids = (
            "SELECT n.id FROM generations AS g CROSS JOIN tasks AS n INDEXED BY tasks_by_generation"
            " ON n.generation = g.number AND n.name >= ? AND n.name < ?"
            " WHERE g.first_id >= ? AND g.first_id < ? AND n.id < ?"
        )
        values = (self.first, self.beyond, down_to, before, before)
        return _read_sorted(connection, ids, values, checked, limit)


def _matches(what: str) -> str:
    """Selects `what` of a name's matches in the generation `g`."""
    return (
        f"SELECT {what} FROM tasks AS n INDEXED BY tasks_by_generation"
        " WHERE n.generation = g.number AND n.name >= ? AND n.name < ?"
    )


def _read_sorted(
    connection: sqlite3.Connection,
    ids: str,
    values: Sequence[Parameter],
    checked: Sequence[Filter],
    limit: int,
) -> list[tuple[str, str]]:
    """Sort the ids that `ids` selects, then look at the rows of as many as are needed."""
    conditions = "".join(f" AND {one.sql.format(id='t.id', state='t.state')}" for one in checked)
    # Without any limit of its own SQLite would leave out the order of an inner query.
    sorted_ids = f"({ids} ORDER BY n.id DESC LIMIT {-1 if checked else limit:d}) AS w"
    sql = f"SELECT t.id, t.state FROM {sorted_ids}{_TASK}w.id WHERE 1{conditions} LIMIT ?"
    parameters = [*values, *(value for one in checked for value in one.parameters), limit]
    return connection.execute(sql, parameters).fetchall()


def just_above(task_id: str) -> str:
    """Sorts right behind the id: no character of an id is below a space."""
    return task_id + " "
