"""The requests whose times are compared, by the names of their figures."""

import json
import random
from collections.abc import Callable
from functools import partial

from bench.api_data import HOT_TAG, stored_task
from bench.http_client import Connection, get_request, post_request

TASKS = "/ga4gh/tes/v1/tasks"

Ask = Callable[[], bytes]

_TAGGED = (("tag_key", HOT_TAG[0]), ("tag_value", HOT_TAG[1]))

LISTS: dict[str, tuple[tuple[str, str | int], ...]] = {
    "list_all": (),
    "list_tag_256": _TAGGED,
    "list_tag_2047": (*_TAGGED, ("page_size", 2047)),
    "list_state": (("state", "COMPLETE"),),
    "list_name_prefix": (("name_prefix", "align"),),
    "list_name_prefix_rare": (("name_prefix", "align-S00000"),),
    "list_tag_and_state": (*_TAGGED, ("state", "EXECUTOR_ERROR")),
    "list_name_and_state": (("name_prefix", "align"), ("state", "EXECUTOR_ERROR")),
}
"""Figures of lists in MINIMAL view: what is asked for. "align" begins half of the names, the rare prefix
those of the 50 oldest with it."""

MANY = {"list_tag_2047"}
"""Figures that take milliseconds each, and get fewer samples."""


def questions(total: int) -> dict[str, Ask]:
    """For a store with `total` tasks, functions that make the next request of each figure."""
    choices = random.Random(11)

    def some_id() -> str:
        return stored_task(choices.randrange(total), total).task.id

    asked: dict[str, Ask] = {
        "create": create_request,
        "get_minimal": lambda: get_request(f"{TASKS}/{some_id()}"),
        "get_full": lambda: get_request(f"{TASKS}/{some_id()}", ("view", "FULL")),
    }
    for name, params in LISTS.items():
        asked[name] = partial(get_request, TASKS, *params)
    return asked


def create_request() -> bytes:
    """A task as clients send them; should one be run after all, it does nothing."""
    return _CREATE


def late_page(connection: Connection) -> bytes:
    """The request for the page of 256 after nine tenths of all tasks of its store have been seen."""
    pages: list[str] = []
    token = ""
    while True:
        params = (("page_size", 2047), *((("page_token", token),) if token else ()))
        token = json.loads(connection.ask(get_request(TASKS, *params))).get("next_page_token", "")
        if not token:
            return get_request(TASKS, ("page_token", pages[len(pages) * 9 // 10]))
        pages.append(token)


_CREATE = post_request(
    TASKS,
    json.dumps(
        {
            "name": "align-new",
            "description": "one step of a pipeline",
            "inputs": [{"url": "https://lab.example/genome.fa", "path": "/data/genome.fa", "type": "FILE"}],
            "outputs": [{"url": "https://lab.example/out.bam", "path": "/data/out.bam", "type": "FILE"}],
            "resources": {"cpu_cores": 2, "ram_gb": 4.0},
            "executors": [{"image": "biocontainers/bwa:0.7.18", "command": ["true"], "workdir": "/data"}],
            "tags": {"lab": "north", "sample": "new"},
        }
    ).encode(),
)
