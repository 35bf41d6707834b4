"""Lists: filters, order, pages."""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from tesp_api.errors import InvalidRequest
from tesp_api.store.base import PAGE_DOCUMENTS_BYTES, Task, TaskQuery, TaskStore
from tesp_api.tes.states import State
from tests.contract.task_stores.conftest import Driver
from tests.factories import make_task

S = State


async def fill(store: TaskStore, *tasks: Task) -> None:
    await asyncio.gather(*(store.create(task) for task in tasks))


async def names(store: TaskStore, query: TaskQuery) -> list[str]:
    """The names of the tasks of a one-page list, after a look at whether both kinds of list agree."""
    page = await store.list_tasks(query)
    minimal = await store.list_states(query)
    assert minimal.items == [(task.id, task.state) for task in page.items]
    assert minimal.next_token == page.next_token
    return [task.request.get("name", "") for task in page.items]


async def test_an_empty_store_has_an_empty_list(store: TaskStore) -> None:
    page = await store.list_tasks(TaskQuery())
    assert (page.items, page.next_token) == ([], None)


async def test_a_list_holds_the_whole_tasks_newest_first(store: TaskStore, runner: Driver) -> None:
    made = [make_task(name=str(number)) for number in range(5)]
    await fill(store, *made)
    await runner.claim(new_limit=2)
    page = await store.list_tasks(TaskQuery())
    assert page.items == [await store.get(task.id) for task in reversed(made)]
    assert page.next_token is None
    assert await names(store, TaskQuery()) == ["4", "3", "2", "1", "0"]


TAG_TABLE: list[tuple[dict[str, str], dict[str, str], bool]] = [
    # Source: TES 1.1, ListTasks, tag_key: filter, tags, match?
    ({"foo": "bar"}, {"foo": "bar"}, True),
    ({"foo": "bar"}, {"foo": "bat"}, False),
    ({"foo": ""}, {"foo": ""}, True),
    ({"foo": "bar", "baz": "bat"}, {"foo": "bar", "baz": "bat"}, True),
    ({"foo": "bar"}, {"foo": "bar", "baz": "bat"}, True),
    ({"foo": "bar", "baz": "bat"}, {"foo": "bar"}, False),
    ({"foo": ""}, {"foo": "bar"}, True),
    ({"foo": ""}, {}, False),
    # Ours.
    ({"foo": "bar", "baz": ""}, {"foo": "bar", "baz": "bat"}, True),
    ({"foo": "", "baz": ""}, {"foo": "bar"}, False),
    ({"foo": "BAR"}, {"foo": "bar"}, False),
    ({"foo": "ba"}, {"foo": "bar"}, False),
    ({"fo": ""}, {"foo": "bar"}, False),
    ({"žluť": "🐎"}, {"žluť": "🐎"}, True),
    ({"": "x"}, {"": "x"}, True),
]


@pytest.mark.parametrize(("wanted", "tags", "matches"), TAG_TABLE)
async def test_tags(store: TaskStore, wanted: dict[str, str], tags: dict[str, str], matches: bool) -> None:
    await fill(store, make_task(name="it", tags=tags), make_task(name="none"))
    query = TaskQuery(tags=tuple(wanted.items()))
    assert await names(store, query) == (["it"] if matches else [])


async def test_a_key_with_two_values_matches_nothing(store: TaskStore) -> None:
    await fill(store, make_task(tags={"a": "1"}), make_task(tags={"a": "2"}))
    assert await names(store, TaskQuery(tags=(("a", "1"), ("a", "2")))) == []


NAMES = ["a%b", "axb", "a_b", "a*b", "a?b", "a[b]", "ab", "AB", "a\\b", "a.b", "^ab", "", "é", "e", "🐎🐎"]


@pytest.mark.parametrize(
    "prefix", ["a", "a%", "a_", "a*", "a?", "a[", "a\\", "a.", "^", "A", "ab", "é", "🐎", "\U0010ffff", "zz"]
)
async def test_a_name_prefix_is_taken_literally(store: TaskStore, prefix: str) -> None:
    await fill(store, *(make_task(name=name) for name in NAMES))
    expected = [name for name in reversed(NAMES) if name.startswith(prefix)]
    assert await names(store, TaskQuery(name_prefix=prefix)) == expected


async def test_a_task_without_a_name_has_no_prefix(store: TaskStore) -> None:
    await fill(store, make_task(request={"executors": []}))
    assert await names(store, TaskQuery(name_prefix="N")) == []
    assert await names(store, TaskQuery()) == [""]


@pytest.fixture
async def varied(store: TaskStore, runner: Driver) -> TaskStore:
    """Sixteen tasks named by what they are: state, owner, tag, number, like `C-alice-x-3`."""
    for number in range(16):
        owner = "alice" if number % 4 < 2 else "bob"
        tag, state = "xy"[number % 2], "QC"[number // 8]
        claim = await runner.take(
            make_task(name=f"{state}-{owner}-{tag}-{number}", owner=owner, tags={"t": tag})
        )
        if state == "C":
            for step in (S.INITIALIZING, S.RUNNING, S.COMPLETE):
                await store.transition(claim.task_id, step, claim=claim, reason="")
    return store


Holds = Callable[[str, str, str], bool]
FILTERS: dict[str, tuple[TaskQuery, Holds]] = {
    "state": (TaskQuery(states=frozenset({S.COMPLETE})), lambda s, o, t: s == "C"),
    "states": (TaskQuery(states=frozenset({S.COMPLETE, S.QUEUED, S.RUNNING})), lambda s, o, t: True),
    "no state": (TaskQuery(states=frozenset()), lambda s, o, t: False),
    "owner": (TaskQuery(owner="bob"), lambda s, o, t: o == "bob"),
    "tag": (TaskQuery(tags=(("t", "x"),)), lambda s, o, t: t == "x"),
    "key": (TaskQuery(tags=(("t", ""),)), lambda s, o, t: True),
    "name": (TaskQuery(name_prefix="Q-alice"), lambda s, o, t: (s, o) == ("Q", "alice")),
}


async def test_all_filters_must_hold_over_all_pages(varied: TaskStore) -> None:
    every = [task.request["name"] for task in (await varied.list_tasks(TaskQuery())).items]
    for first, second in product(FILTERS, FILTERS):
        query, expected = _both(FILTERS[first], FILTERS[second], every)
        assert await walk(varied, query) == expected, f"{first} and {second}"


def _both(
    first: tuple[TaskQuery, Holds], second: tuple[TaskQuery, Holds], every: list[str]
) -> tuple[TaskQuery, list[str]]:
    """A query with both filters, and what it should find."""
    (one, one_holds), (two, two_holds) = first, second
    query = TaskQuery(
        states=one.states if two.states is None else two.states,
        name_prefix=two.name_prefix or one.name_prefix,
        tags=one.tags + two.tags,
        owner=two.owner or one.owner,
        page_size=3,
    )
    both_ask_for_states = one.states is not None and two.states is not None
    expected = [
        name
        for name in every
        if two_holds(*name.split("-")[:3]) and (both_ask_for_states or one_holds(*name.split("-")[:3]))
    ]
    return query, expected


async def walk(store: TaskStore, query: TaskQuery) -> list[str]:
    """The names on all pages, after a look at the sizes of the pages and at list_states."""
    seen: list[str] = []
    token: str | None = None
    while True:
        query = TaskQuery(
            query.states, query.name_prefix, query.tags, query.owner, query.page_size, after=token
        )
        page = await store.list_tasks(query)
        minimal = await store.list_states(query)
        assert minimal.items == [(task.id, task.state) for task in page.items]
        assert minimal.next_token == page.next_token
        seen += [task.request["name"] for task in page.items]
        if page.next_token is None:
            return seen
        assert len(page.items) == query.page_size
        token = page.next_token


async def test_a_last_page_that_is_full_has_no_token(store: TaskStore) -> None:
    await fill(store, *(make_task() for _ in range(4)))
    assert (await store.list_tasks(TaskQuery(page_size=4))).next_token is None
    first = await store.list_tasks(TaskQuery(page_size=2))
    last = await store.list_tasks(TaskQuery(page_size=2, after=first.next_token))
    assert len(last.items) == 2
    assert last.next_token is None


async def test_pages_are_stable_while_tasks_are_added(store: TaskStore) -> None:
    made = [make_task(name=str(number)) for number in range(6)]
    await fill(store, *made)
    seen: list[str] = []
    token: str | None = None
    for turn in range(3):
        page = await store.list_states(TaskQuery(page_size=2, after=token))
        seen += [task_id for task_id, _ in page.items]
        token = page.next_token
        await fill(store, make_task(name=f"later {turn}"))
    assert seen == [task.id for task in reversed(made)]
    assert token is None


async def test_a_page_of_long_tasks_ends_where_they_would_fill_the_memory(store: TaskStore) -> None:
    """Each is over in the middle of a page; short ones among them do not matter."""
    half, whole = PAGE_DOCUMENTS_BYTES // 2 - 10_000, PAGE_DOCUMENTS_BYTES + 1
    lengths = [10, half, half, half, 10, whole, half, 10]
    inputs = [[{"path": "/a", "content": "x" * length}] for length in lengths]
    made = [make_task(name="n", tags={"k": "v"}, inputs=one) for one in inputs]
    await fill(store, *made)
    ids = [task.id for task in reversed(made)]
    pages = [ids[:2], ids[2:3], ids[3:6], ids[6:]]
    both = TaskQuery(name_prefix="n", tags=(("k", "v"),))
    for query in (TaskQuery(), TaskQuery(tags=(("k", "v"),)), TaskQuery(name_prefix="n"), both):
        token: str | None = None
        for number, expected in enumerate(pages, start=1):
            page = await store.list_tasks(replace(query, after=token))
            assert [task.id for task in page.items] == expected
            token = page.next_token
            assert (token is None) == (number == len(pages))
    assert len((await store.list_states(TaskQuery())).items) == len(made)


def not_tokens() -> list[str]:
    forged = base64.urlsafe_b64encode(b"\x01garbage").decode()
    return ["", "x", "garbage", "é", "!!!!", "A" * 10_000, "AQ", forged, "' OR 1=1", "\ud800"]


@pytest.mark.parametrize("after", not_tokens())
async def test_a_token_that_the_store_did_not_give_out_is_refused(store: TaskStore, after: str) -> None:
    for listing in (store.list_tasks, store.list_states):
        for states in (None, frozenset[State]()):
            with pytest.raises(InvalidRequest) as refused:
                await listing(TaskQuery(after=after, states=states))
            assert [fault.field for fault in refused.value.faults] == ["page_token"]


async def test_a_token_that_was_changed_is_refused(store: TaskStore) -> None:
    await fill(store, make_task(), make_task())
    token = (await store.list_states(TaskQuery(page_size=1))).next_token
    assert token
    for changed in (token[:-1], token + "A", token + "=", token.swapcase(), token[1:]):
        with pytest.raises(InvalidRequest):
            await store.list_states(TaskQuery(after=changed))
