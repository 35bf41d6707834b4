"""Lists of tasks, newest first, without looking at many more tasks than are shown.

A list follows one *walk*: an index that holds one filter's matches in the order of ids, so that a page
is read from where the last one ended and nothing is sorted. Other filters are checked on the way: in the
index, if it holds their field, else in the documents.

With several filters each walk is asked how far its next stretch of matches reaches, which reads the index
alone. One that has few left is read to its end. If all have many, the sparsest is followed for a stretch, and
it begins anew. Where filters are common, but hardly ever true together, the list stops after a few
stretches, and its token says where.

A name prefix has no such order. Few matches are sorted by id; where there are many, another walk meets them.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from tesp_api.store.base import GROUP_TAG, NEWEST, PAGE_DOCUMENTS_BYTES, Page, TaskQuery
from tesp_api.store.mongo_documents import NAME_LIMIT, Collection, Document, exact, json_bytes, tag_entry
from tesp_api.store.mongo_schema import Index
from tesp_api.store.page_token import task_id_in, token_after
from tesp_api.tes.states import State

_LEAST_STRETCH = 2000
_STRETCH_PER_PAGE = 2
_MOST_STRETCHES = 4
ONLY_STATES = {"_id": 1, "state": 1}


@dataclass(frozen=True, slots=True)
class _Walk:
    """A way through an index: `along` are the conditions that bound it, `beside` all others."""

    index: Index
    along: Document
    beside: tuple[Document, ...] = ()
    ordered: bool = True


async def read_page(tasks: Collection, query: TaskQuery, projection: Document) -> Page[Document]:
    """One page of documents; it may be short, or empty, without being the last (`Page`).

    By `ONLY_STATES` it is read from the index alone, unless other fields have to be checked. By any other
    projection no more are read than have room in the memory.

    Raises:
        InvalidRequest: the page token is not one.
    """
    after = query.id_before if query.after is None else min(query.id_before, task_id_in(query.after))
    before = None if after == NEWEST else after
    if query.states is not None and not query.states:
        return Page([], None)
    walks, limit = list(_walks(query)), query.page_size + 1
    reader = _PageReader(tasks, projection, max(_LEAST_STRETCH, _STRETCH_PER_PAGE * query.page_size))
    found: list[Document] = []
    for _ in range(_MOST_STRETCHES):
        walk, floor = await reader.choose(walks, before)
        found += await reader.read(walk, before, floor, limit - len(found))
        before = floor
        if floor is None or len(found) == limit or reader.is_full:
            break
    if (before or "") < query.id_from:
        before = None
    if found and found[-1]["_id"] < query.id_from:
        found, reader.is_full = [one for one in found if one["_id"] >= query.id_from], False
    items = found[: query.page_size]
    last_shown = items[-1]["_id"] if len(found) == limit or reader.is_full else before
    return Page(items, None if last_shown is None else token_after(last_shown))


class _PageReader:
    """Asks for tasks by the order of their ids, for no more than a `stretch` of a walk at a time."""

    def __init__(self, tasks: Collection, projection: Document, stretch: int) -> None:
        self._tasks = tasks
        self._projection = projection
        self._stretch = stretch
        self._read_bytes = 0
        self.is_full = False
        """Whether there was another task, but no room for it."""

    async def choose(self, walks: list[_Walk], before: str | None) -> tuple[_Walk, str | None]:
        """The walk to take from `before` on, and the id where to stop; None to go to its end."""
        if len(walks) == 1:
            return walks[0], None
        ends = await asyncio.gather(*(self._end_of_stretch(walk, before) for walk in walks))
        found = list(zip(walks, ends, strict=True))
        few = [walk for walk, end in found if end is None]
        if few:
            return few[0], None
        return min(((walk, end) for walk, end in found if walk.ordered), key=lambda pair: str(pair[1]))

    async def read(self, walk: _Walk, before: str | None, floor: str | None, limit: int) -> list[Document]:
        """Up to `limit` tasks of the walk, older than `before`, not older than `floor`."""
        where = {"$and": [walk.along, *walk.beside, _ids(before, floor)]}
        cursor = self._tasks.find(where, self._projection, hint=walk.index, batch_size=limit)
        newest_first = cursor.sort("_id", -1).limit(limit)
        if self._projection is ONLY_STATES:
            return await newest_first.to_list()
        async with newest_first:
            return await self._with_room(newest_first)

    async def _with_room(self, documents: AsyncIterator[Document]) -> list[Document]:
        found: list[Document] = []
        async for document in documents:
            is_first = self._read_bytes == 0
            self._read_bytes += json_bytes(document)
            if self._read_bytes > PAGE_DOCUMENTS_BYTES and not is_first:
                self.is_full = True
                break
            found.append(document)
        return found

    async def _end_of_stretch(self, walk: _Walk, before: str | None) -> str | None:
        """The id that ends the walk's next stretch: the older, the sparser the walk; None if it has no more
        entries than that. Of a walk without that order, any id; `before` would not make it any shorter."""
        where = {"$and": [walk.along, _ids(before)]} if walk.ordered else walk.along
        cursor = self._tasks.find(where, {"_id": 1}, hint=walk.index)
        if walk.ordered:
            cursor = cursor.sort("_id", -1)
        found = await cursor.skip(self._stretch - 1).limit(1).to_list()
        return str(found[0]["_id"]) if found else None


def _ids(before: str | None, floor: str | None = None) -> Document:
    return {"_id": {"$gte": floor or ""} | ({} if before is None else {"$lt": before})}


def _walks(query: TaskQuery) -> Iterator[_Walk]:
    """Every walk that answers a filter, or the one through all tasks if none does in the order of ids."""
    states = _in_states(query.states)
    owner = [] if query.owner is None else [{"owner": query.owner}]
    shared = () if query.group is None else ((GROUP_TAG, query.group),)
    entries = [tag_entry(key, value) for key, value in dict.fromkeys((*query.tags, *shared))]
    went = [{"went_to": query.destination}] if query.destination else []
    name = _name_filters(query.name_prefix) if query.name_prefix else []
    for position, entry in enumerate(entries):
        others = [_tagged(other) for other in entries[:position] + entries[position + 1 :]]
        beside = (*states, *owner, *went, *name, *others)
        yield _Walk(Index.BY_TAG, {"tags": entry}, beside)
    tagged = [_tagged(entry) for entry in entries]
    if went:
        yield _Walk(Index.BY_DESTINATION, went[0], (*states, *owner, *name, *tagged))
    if owner:
        every = states or _in_states(frozenset(State))
        yield _Walk(Index.BY_OWNER, {"$and": [*owner, *every]}, (*went, *name, *tagged))
    elif states:
        yield _Walk(Index.BY_STATE, states[0], (*went, *name, *tagged))
    if name:
        yield _Walk(Index.BY_NAME, name[0], (*name[1:], *states, *owner, *went, *tagged), ordered=False)
    if not (entries or owner or states or went):
        yield _Walk(Index.BY_ID, {"state": {"$gte": ""}}, tuple(name))


def _in_states(states: frozenset[State] | None) -> list[Document]:
    return [] if states is None else [{"state": {"$in": sorted(state.value for state in states)}}]


def _tagged(entry: str) -> Document:
    """The condition that a task has the tag, in a form that no index answers: the walk's own tag must."""
    return {"$expr": {"$in": [{"$literal": entry}, "$tags"]}}


def _name_filters(prefix: str) -> list[Document]:
    """The condition on the name as far as it is indexed, and one on all of it if the prefix goes beyond."""
    wanted = exact(prefix)
    if len(wanted) <= NAME_LIMIT:
        return [_between("name", wanted)]
    return [{"name": wanted[:NAME_LIMIT]}, _between("name_full", wanted)]


def _between(field: str, prefix: str) -> Document:
    """Texts that begin with the prefix; no character stands for 255, so the last one can grow."""
    return {field: {"$gte": prefix, "$lt": prefix[:-1] + chr(ord(prefix[-1]) + 1)}}
