"""A run as a tree of its steps, redrawn while it goes on."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from tesp_api.cli.output import console, print_state_change, state_text
from tesp_api.cli.run_client import RunClient
from tesp_api.tes.states import FINAL

_POLL_MIN_S, _POLL_MAX_S = 0.2, 2.0
_ORDER = (
    "COMPLETE RUNNING INITIALIZING QUEUED CANCELING CANCELED PREEMPTED EXECUTOR_ERROR SYSTEM_ERROR UNKNOWN"
)
_MOST_LINES = 40


def watch(client: RunClient, run_id: str, *, timeout_s: float | None, with_tree: bool) -> str:
    """Return the run's state when it has ended or the time is over.

    On a terminal there is a tree of its steps on stderr, unless that is not wanted; elsewhere each change of
    the run's state is a line there.
    """
    out = console(stderr=True)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    shown: tuple[Any, ...] = ()
    last, pause_s = "", _POLL_MIN_S
    is_drawn = with_tree and out.is_terminal
    with Live(console=out, auto_refresh=False, transient=False) if is_drawn else _Nothing() as live:
        while True:
            state, steps = client.steps(run_id) if is_drawn else (client.state(run_id), [])
            if is_drawn:
                live.update(run_tree(run_id, state, steps), refresh=True)
            elif state != last:
                print_state_change(run_id, state, out)
            seen = (state, len(steps), Counter(step["state"] for step in steps))
            pause_s = _POLL_MIN_S if seen != shown else min(pause_s * 1.2, _POLL_MAX_S)
            last, shown = state, seen
            if state in FINAL or (deadline is not None and time.monotonic() >= deadline):
                return state
            time.sleep(pause_s)


def run_tree(run_id: str, state: str, steps: Sequence[dict[str, Any]]) -> Tree:
    """The run with a line for each step, or for each name of several: how many are in which state."""
    tree = Tree(Text.assemble((run_id, "bold"), "  ", state_text(state)), guide_style="dim")
    by_name: dict[str, list[dict[str, Any]]] = {}
    for step in steps:
        by_name.setdefault(step["name"], []).append(step)
    names = list(by_name)
    for name in names[:_MOST_LINES]:
        tree.add(_line(name, by_name[name]))
    if len(names) > _MOST_LINES:
        tree.add(Text(f"and {len(names) - _MOST_LINES} more steps", "dim"))
    return tree


def _line(name: str, steps: Sequence[dict[str, Any]]) -> Text:
    reused = sum("reused_from" in step for step in steps)
    told = (f"  taken over{f': {reused}' if len(steps) > 1 else ''}", "dim") if reused else ""
    if len(steps) == 1:
        return Text.assemble(name, "  ", state_text(steps[0]["state"]), told)
    counts = Counter(step["state"] for step in steps)
    parts: list[Any] = []
    for state in sorted(counts, key=_ORDER.split().index):
        parts += [f"  {counts[state]} ", state_text(state)]
    return Text.assemble(name, f" ({len(steps)})", *parts, told)


class _Nothing:
    """In place of a live display."""

    def __enter__(self) -> Any:
        return None

    def __exit__(self, *_: object) -> None:
        pass
