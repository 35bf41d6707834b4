"""What a list's query asks for: its conditions on a task, and the walks that follow them."""

from collections.abc import Iterator

from tesp_api.store.base import GROUP_TAG, TaskQuery
from tesp_api.store.sqlite_rows import to_bytes
from tesp_api.store.sqlite_walks import Filter, IndexWalk, NameWalk, Walk

# NOT INDEXED would not do: in tables without rowid SQLite ignores it.
EVERYTHING = IndexWalk("tasks AS t INDEXED BY sqlite_autoindex_tasks_1", (Filter("1", ()),))
"""Through all tasks: answers nothing."""


class Filters:
    """The conditions of a query; filters are told apart by identity."""

    def __init__(self, query: TaskQuery) -> None:
        self._query = query
        self._states = tuple(sorted(query.states or ()))
        marks = ",".join("?" * len(self._states))
        self._state = Filter(f"{{state}} IN ({marks})", self._states) if self._states else None
        self._owner = None if query.owner is None else Filter("t.owner = ?", (query.owner,), needs_row=True)
        self._destination = (
            Filter("t.went_to = ?", (query.destination,), needs_row=True) if query.destination else None
        )
        shared = () if query.group is None else ((GROUP_TAG, query.group),)
        self._tags = {tag: _tagged(*tag) for tag in (*query.tags, *shared)}
        self.name = _name_walk(query.name_prefix) if query.name_prefix else None

    def besides(self, walk: Walk) -> list[Filter]:
        """The filters that `walk` leaves to be checked."""
        simple = (self._state, self._owner, self._destination)
        every = [*simple, *self._tags.values(), *(self.name.answers if self.name else ())]
        answered = {id(one) for one in walk.answers}
        return [one for one in every if one is not None and id(one) not in answered]

    def walks(self) -> list[IndexWalk]:
        """A walk for every filter but the name's; the one through all tasks if there is none."""
        return list(self._walks()) or [EVERYTHING]

    def _walks(self) -> Iterator[IndexWalk]:
        for tag, answer in self._tags.items():
            yield _tag_walk(tag, answer)
        if self._destination:
            yield _task_walk("tasks_by_destination", (self._destination,), self._destination)
        if self._owner and self._state:
            branches = tuple(
                Filter("t.owner = ? AND t.state = ?", (*self._owner.parameters, one)) for one in self._states
            )
            yield _task_walk("tasks_by_owner_state", branches, self._owner, self._state)
        elif self._owner:
            yield _task_walk("tasks_by_owner", (self._owner,), self._owner)
        elif self._state:
            branches = tuple(Filter("t.state = ?", (one,)) for one in self._states)
            yield _task_walk("tasks_by_state", branches, self._state)


def _task_walk(index: str, branches: tuple[Filter, ...], *answers: Filter) -> IndexWalk:
    return IndexWalk(f"tasks AS t INDEXED BY {index}", branches, answers)


def _tag_walk(tag: tuple[str, str], answer: Filter) -> IndexWalk:
    key, value = map(to_bytes, tag)
    if value:
        table = "tags AS walked INDEXED BY sqlite_autoindex_tags_1"
        branch = Filter("walked.key = ? AND walked.value = ?", (key, value))
    else:
        table = "tags AS walked INDEXED BY tags_by_key"
        branch = Filter("walked.key = ?", (key,))
    return IndexWalk(table, (branch,), (answer,), "walked.task_id", "walked.state", holds_rows=False)


def _tagged(key: str, value: str) -> Filter:
    some = "EXISTS (SELECT 1 FROM tags AS g WHERE g.key = ? AND g.task_id = {id}"
    if value:
        return Filter(f"{some} AND g.value = ?)", (to_bytes(key), to_bytes(value)))
    return Filter(f"{some})", (to_bytes(key),))


def _name_walk(prefix: str) -> NameWalk:
    """Names in the range that begins with the prefix; no byte of UTF-8 is 0xFF, so the last one can grow."""
    first = to_bytes(prefix)
    beyond = first[:-1] + bytes([first[-1] + 1])
    return NameWalk(first, beyond, Filter("t.name >= ? AND t.name < ?", (first, beyond), needs_row=True))
