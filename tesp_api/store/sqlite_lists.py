"""Lists of tasks, newest first, without looking at many more tasks than are shown.

A query with one filter is one walk along that filter's index. With several, the walks first leap to the
newest place that all of them reach; from there the sparsest one is followed for a stretch, the other
filters checked task by task; then it begins anew. Where filters are common, but hardly ever true together,
no order of looking helps: after a small multiple of the page the list stops, and its token says where.
"""

import sqlite3
from collections.abc import Iterator, Sequence

from tesp_api.store.base import NEWEST, PAGE_DOCUMENTS_BYTES, Page, Task, TaskQuery
from tesp_api.store.page_token import task_id_in, token_after
from tesp_api.store.sqlite_filters import EVERYTHING, Filters
from tesp_api.store.sqlite_rows import read_tasks
from tesp_api.store.sqlite_walks import Walk
from tesp_api.tes.states import State

LEAST_STRETCH = 1024
"""Tasks looked at between two choices, unless the page is larger than half of it."""

MOST_STRETCHES = 8
"""Stretches after which a page ends, however few tasks it has."""

_MOST_LEAPS = 32

_Rows = list[tuple[str, str]]

_IDS_PER_QUERY = 500
_SIZES = (
    "SELECT length(CAST(r.document AS BLOB)) + (SELECT coalesce(sum(length(CAST(l.document AS BLOB))), 0)"
    " FROM attempt_logs AS l WHERE l.task_id = r.task_id)"
    " FROM requests AS r WHERE r.task_id IN ({marks}) ORDER BY r.task_id DESC"
)


def read_whole_page(connection: sqlite3.Connection, query: TaskQuery) -> Page[Task]:
    """Like `read_page`, with the tasks themselves: no more of them than have room in the memory.

    Raises:
        InvalidRequest: the page token is not one.
    """
    page = read_page(connection, query)
    ids = [task_id for task_id, _ in page.items]
    room = _with_room(connection, ids)
    return Page(
        read_tasks(connection, ids[:room]),
        page.next_token if room == len(ids) else token_after(ids[room - 1]),
    )


def _with_room(connection: sqlite3.Connection, ids: Sequence[str]) -> int:
    """How many of the tasks, newest first, `PAGE_DOCUMENTS_BYTES` have room for; one always."""
    left_bytes = PAGE_DOCUMENTS_BYTES
    for place, size_bytes in enumerate(_sizes(connection, ids)):
        left_bytes -= size_bytes
        if left_bytes < 0:
            return max(1, place)
    return len(ids)


def _sizes(connection: sqlite3.Connection, ids: Sequence[str]) -> Iterator[int]:
    """The sizes of the tasks' documents, one read after the other, as they are asked for."""
    for start in range(0, len(ids), _IDS_PER_QUERY):
        some = ids[start : start + _IDS_PER_QUERY]
        sizes = connection.execute(_SIZES.format(marks=",".join("?" * len(some))), some)
        yield from (row[0] for row in sizes)


def read_page(connection: sqlite3.Connection, query: TaskQuery) -> Page[tuple[str, State]]:
    """Ids and states of one page; it may be short, or empty, without being the last (`Page`).

    Raises:
        InvalidRequest: the page token is not one.
    """
    before = min(query.id_before, NEWEST if query.after is None else task_id_in(query.after))
    if query.states is not None and not query.states:
        return Page([], None)
    limit = query.page_size + 1
    rows, looked_down_to = _read(connection, Filters(query), before, limit)
    rows = [row for row in rows if row[0] >= query.id_from]
    if (looked_down_to or "") < query.id_from:
        looked_down_to = None
    items = [(task_id, State(state)) for task_id, state in rows[: query.page_size]]
    last_shown = items[-1][0] if len(rows) == limit else looked_down_to
    return Page(items, None if last_shown is None else token_after(last_shown))


def _read(
    connection: sqlite3.Connection, filters: Filters, before: str, limit: int
) -> tuple[_Rows, str | None]:
    """Up to `limit` tasks, and the id down to which there can be no more of them: None for the end."""
    by_id, name = filters.walks(), filters.name
    stretch = max(LEAST_STRETCH, 2 * limit)
    if name is None and len(by_id) == 1:
        return by_id[0].read(connection, filters.besides(by_id[0]), before, "", limit), None
    if name is None or not name.is_rare(connection, stretch):
        return _read_by_stretches(connection, filters, before, limit, stretch)
    # So few tasks have such a name that they can be sorted, if no other filter has still fewer.
    walk, down_to = _sparsest(connection, by_id, before, stretch)
    if by_id == [EVERYTHING] or down_to:
        return name.read_rare(connection, filters.besides(name), before, limit), None
    return walk.read(connection, filters.besides(walk), before, "", limit), None


def _read_by_stretches(
    connection: sqlite3.Connection, filters: Filters, before: str, limit: int, stretch: int
) -> tuple[_Rows, str | None]:
    by_id = filters.walks()
    every: list[Walk] = [*by_id, *([filters.name] if filters.name else [])]
    rows: _Rows = []
    for turn in range(MOST_STRETCHES):
        leapt = _leap(connection, every, before)
        if leapt is None:
            return rows, None
        # Where a name is common, the first look is along ids, which stops as soon as the page is full.
        walk, down_to = _sparsest(connection, every if turn else by_id, leapt, stretch)
        rows += walk.read(connection, filters.besides(walk), leapt, down_to, limit - len(rows))
        if len(rows) == limit or not down_to:
            return rows, None
        before = down_to
    return rows, before


def _leap(connection: sqlite3.Connection, walks: Sequence[Walk], before: str) -> str | None:
    """A place below `before` above which the walks have no task in common; None if they have none at all."""
    agreed, at = 0, 0
    for _ in range(_MOST_LEAPS):
        ceiling = walks[at].ceiling(connection, before)
        if ceiling is None:
            return None
        agreed = agreed + 1 if ceiling >= before else 1
        if agreed >= len(walks):
            break
        before, at = min(before, ceiling), (at + 1) % len(walks)
    return before


def _sparsest(
    connection: sqlite3.Connection, walks: Sequence[Walk], before: str, stretch: int
) -> tuple[Walk, str]:
    """The walk on which a stretch leads to the oldest task, and that task's id, "" if the walk ends."""
    reached = []
    for walk in walks:
        down_to = walk.reach(connection, before, stretch)
        if down_to is None:
            return walk, ""
        reached.append((down_to, walk))
    oldest, sparsest = min(reached, key=lambda pair: pair[0])
    return sparsest, oldest
