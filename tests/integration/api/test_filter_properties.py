"""Lists against the standard's rules, written down once more as plain Python, for whatever filters come."""

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tesp_api.api.application import build_api
from tesp_api.app import build_store
from tesp_api.bell import Bell
from tesp_api.settings import Settings
from tests.integration.api.kinds import STORES, store_table
from tests.integration.api.life import TES, V1, connect

TEXTS = [
    "",
    "a",
    "ab",
    "aB",
    "b",
    "ä",
    "a%",
    "a_",
    "a.*",
    "\U0010ffff",
    "\uffff",
    "'",
    "\U0001d4b6",
    " a",
    "a\n",
]
STATES = ["QUEUED", "CANCELING", "CANCELED", "RUNNING", "COMPLETE"]

Filters = dict[str, Any]
_some_text = st.sampled_from(TEXTS) | st.text(st.characters(exclude_characters="\0"), max_size=3)
_filters = st.fixed_dictionaries(
    {},
    optional={
        "name_prefix": _some_text,
        "state": st.sampled_from(STATES),
        "tags": st.lists(st.tuples(_some_text, _some_text), max_size=3),
        "page_size": st.integers(1, 30),
    },
)


class World:
    """A served store with tasks of every combination of names and tags, and what is known of them."""

    def __init__(self, configuration: Settings) -> None:
        self.runner = asyncio.Runner()
        self.store = build_store(configuration)
        self.runner.run(self.store.open())
        self.app = build_api(self.store, Bell(), configuration, {})
        self.known: dict[str, dict[str, Any]] = {}
        self.runner.run(self._fill())

    def listed(self, filters: Filters, prefix: str) -> list[str]:
        """The ids on all pages, in their order."""
        return self.runner.run(self._list(filters, prefix))

    def expected(self, filters: Filters, prefix: str) -> list[str]:
        """What the standard's rules make of the filters."""
        return [task_id for task_id, task in reversed(self.known.items()) if matches(task, filters, prefix)]

    def close(self) -> None:
        self.runner.run(self.store.aclose())
        self.runner.close()

    async def _fill(self) -> None:
        async with connect(self.app) as client:
            for number, name in enumerate(TEXTS):
                tags = {TEXTS[number - 1]: TEXTS[number - 2], "a": name, "k": str(number % 3)}
                for state in ("QUEUED", "CANCELING"):
                    body = {"name": name, "tags": tags, "executors": [{"image": "a", "command": ["b"]}]}
                    task_id = (await client.post(f"{TES}/tasks", json=body)).json()["id"]
                    if state == "CANCELING":
                        await client.post(f"{TES}/tasks/{task_id}:cancel")
                    self.known[task_id] = {"name": name, "tags": tags, "state": state}

    async def _list(self, filters: Filters, prefix: str) -> list[str]:
        params = [(key, str(value)) for key, value in filters.items() if key != "tags"]
        for key, value in filters.get("tags", ()):
            params += [("tag_key", key), ("tag_value", value)]
        found: list[str] = []
        token = ""
        async with connect(self.app) as client:
            while True:
                query = urlencode(params + ([("page_token", token)] if token else []))
                answer = await client.get(f"{prefix}/tasks?{query}")
                assert answer.status_code == 200, answer.text
                page = answer.json()
                assert len(page["tasks"]) <= filters.get("page_size", 256)
                found += [task["id"] for task in page["tasks"]]
                token = page.get("next_page_token", "")
                if not token:
                    return found


def matches(task: dict[str, Any], filters: Filters, prefix: str) -> bool:
    """Whether a task is in the list. Source: TES 1.1, ListTasks."""
    shown = "CANCELED" if prefix == V1 and task["state"] == "CANCELING" else task["state"]
    return (
        task["name"].startswith(filters.get("name_prefix", ""))
        and filters.get("state", shown) == shown
        and all(
            key in task["tags"] and (not value or task["tags"][key] == value)
            for key, value in filters.get("tags", ())
        )
    )


@pytest.fixture(scope="module", params=STORES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("filters")
    tables = {"data_dir": str(folder), "store": store_table(request, folder)}
    made = World(Settings.model_validate(tables))
    yield made
    made.close()


@pytest.mark.parametrize("prefix", [TES, V1])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters=_filters)
def test_a_list_is_what_the_rules_say(world: World, prefix: str, filters: Filters) -> None:
    assert world.listed(filters, prefix) == world.expected(filters, prefix)


@settings(max_examples=150, deadline=None)
@given(
    params=st.lists(
        st.tuples(
            st.sampled_from(
                ["name_prefix", "state", "tag_key", "tag_value", "page_size", "page_token", "view", "x"]
            ),
            st.text(max_size=8) | st.sampled_from(["FULL", "QUEUED", "1", "2047", "2048", "AQAAAAA"]),
        ),
        max_size=6,
    )
)
def test_any_query_is_answered_or_refused_with_the_parameters_named(
    world: World, params: list[tuple[str, str]]
) -> None:
    async def ask() -> httpx.Response:
        async with connect(world.app) as client:
            return await client.get(f"{TES}/tasks?{urlencode(params, errors='replace')}")

    answer = world.runner.run(ask())
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:
        assert {fault["field"] for fault in answer.json()["faults"]} <= {name for name, _ in params}
