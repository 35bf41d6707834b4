"""What is redrawn as it changes: `tesp task list --watch` and `tesp top`."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tesp_api.cli.client import TespClient
from tesp_api.cli.event_stream import events
from tesp_api.cli.exits import CommandFailed
from tesp_api.cli.output import console, cut, state_text, table

_EVERY_S = 0.5
_AT_LEAST_EVERY_S = 5.0
"""Times that are shown grow, and a change may have been missed."""
_ROWS = 200
_ACTIVE = ("RUNNING", "INITIALIZING", "CANCELING", "QUEUED")

Row = Mapping[str, Any]


class _Changes(threading.Thread):
    """Hears of what changes on the server."""

    def __init__(self, client: TespClient) -> None:
        super().__init__(daemon=True)
        self.news = threading.Event()
        self.failure: CommandFailed | None = None
        self._client = client

    def run(self) -> None:
        try:
            for _ in events(self._client, "/tesp/v1/events"):
                self.news.set()
        except CommandFailed as error:
            self.failure = error
            self.news.set()
        except RuntimeError:  # the client was closed: nobody looks any more
            return


def redraw(client: TespClient, show: Callable[[], None]) -> None:
    """Call `show` at once and then whenever something changes, until Ctrl-C.

    Raises:
        CommandFailed: the server is away for too long.
    """
    changes = _Changes(client)
    changes.start()
    try:
        while True:
            changes.news.clear()
            if changes.failure is not None:
                raise changes.failure
            show()
            time.sleep(_EVERY_S)
            changes.news.wait(_AT_LEAST_EVERY_S)
    except KeyboardInterrupt:
        return


def watch_tasks(client: TespClient, params: Sequence[tuple[str, str]]) -> None:
    """The first page of a list of tasks, as it changes; without a terminal, a line for each change."""
    out = console()
    if not out.is_terminal:
        seen: dict[str, str] = {}
        redraw(client, lambda: _print_changes(client.rows(params), seen))
        return
    with Live(console=out, auto_refresh=False, screen=True) as live:

        def show() -> None:
            rows = client.rows(params)[: max(1, out.height - 2)]
            live.update(task_table(rows) if rows else Text("there are no such tasks", "dim"), refresh=True)

        redraw(client, show)


def _print_changes(rows: Sequence[Row], seen: dict[str, str]) -> None:
    for row in reversed(rows):
        if seen.get(row["id"]) != row["state"]:
            seen[row["id"]] = row["state"]
            console().print(
                Text.assemble(row["id"], "  ", state_text(row["state"]), f"  {row.get('name', '')}")
            )


def show_top(client: TespClient, *, once: bool) -> None:
    """Counts, destinations, and the tasks that have not ended, as they change."""
    out = console()
    if once or not out.is_terminal:
        out.print(_top(client, _ROWS))
        return
    with Live(console=out, auto_refresh=False, screen=True) as live:
        redraw(client, lambda: live.update(_top(client, max(1, out.height - 8)), refresh=True))


def _top(client: TespClient, most: int) -> RenderableType:
    counts = client.json("GET", "/tesp/v1/counts")["states"]
    destinations = client.json("GET", "/tesp/v1/destinations")["destinations"]
    active = [("state", state) for state in _ACTIVE]
    rows = client.rows([*active, ("page_size", str(min(most, _ROWS)))])
    rows.sort(key=lambda row: _ACTIVE.index(row["state"]))
    told = [part for state, count in counts.items() for part in (state_text(state), f" {count:,}   ")]
    head = Text.assemble(*told) if told else Text("there are no tasks", "dim")
    return Group(head, Text(), _destination_table(destinations), Text(), task_table(rows))


def _destination_table(destinations: Sequence[Row]) -> Table:
    shown = table("DESTINATION", "HEALTH", "RUNNING", "CORES", "RAM GB", "WAITING")
    for one in destinations:
        health = one["health"]["state"]
        shown.add_row(
            cut(one["name"]),
            Text(health, {"well": "green", "trying": "yellow"}.get(health, "red")),
            f"{one['running']}/{one['max_running']}",
            _of(one["cores_used"], one.get("cores")),
            _of(one["ram_gb_used"], one.get("ram_gb")),
            str(one["waiting"]),
        )
    return shown


def task_table(rows: Sequence[Row]) -> Table:
    """Tasks as rows, with how long they have been there."""
    shown = table("ID", "STATE", "AGE", "DESTINATION", "OWNER", "NAME")
    for row in rows:
        end = datetime.fromisoformat(row["ended_at"]) if "ended_at" in row else datetime.now(UTC)
        age_s = max(0.0, (end - datetime.fromisoformat(row["created_at"])).total_seconds())
        where, owner = cut(row.get("destination", "")), cut(row["owner"])
        shown.add_row(
            row["id"], state_text(row["state"]), _age(age_s), where, owner, cut(row.get("name", ""))
        )
    return shown


def _of(used: float, most: float | None) -> str:
    return f"{used:g}" if most is None else f"{used:g}/{most:g}"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
