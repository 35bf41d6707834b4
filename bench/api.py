"""How fast the API answers with few and with a million stored tasks, and beside what FastAPI alone does.

`python -m bench.api [--json] [--store sqlite|mongodb] [--tasks 1000000] [--few 1000] [--samples 2000]`
"""

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import to_json

from bench.api_questions import MANY, TASKS, create_request, late_page, questions
from bench.api_servers import STORES, BenchedServer, benched_servers
from bench.http_client import Connection, get_request, throughput
from bench.report import print_report
from tesp_api.api.minimal_pages import minimal_page
from tesp_api.tes.ids import new_task_id
from tesp_api.tes.states import State
from tests.services.tesp import TespServer

CONNECTIONS = 32
PAGE = 2047

_ROUNDS = 5
_STRETCHES = 9
_WARM_UP = 20


def main() -> None:
    """Load, start, measure, report."""
    options = _options()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="tesp-bench-", dir=options.folder) as folder:
        totals = (options.few, options.tasks)
        with (
            TespServer(app="bench.bare:app") as bare,
            benched_servers(options.store, Path(folder), totals) as (few, many),
        ):
            gc.disable()  # the client's own pauses are not the server's
            ratios = _compare_sizes(few, many, options.samples, figures)
            ratios |= _compare_pages(many, options.samples, figures)
            ratios |= _compare_with_bare(many, bare, options.seconds, figures)
            ratios["list_page_over_pydantic"] = _compare_with_pydantic(options.samples, figures)
            figures["rss_mb"] = many.rss_mb()
    print_report(f"api_{options.store}", figures, ratios)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--store", choices=sorted(STORES), default="sqlite")
    parser.add_argument("--tasks", type=int, default=1_000_000, help="stored in the full store")
    parser.add_argument("--few", type=int, default=1000, help="stored in the other one")
    parser.add_argument("--samples", type=int, default=2000, help="answers timed for each figure")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round of a throughput")
    parser.add_argument("--folder", type=Path, help="where the databases are made (3 GB for a million)")
    return parser.parse_args()


def _compare_sizes(
    few: BenchedServer, many: BenchedServer, samples: int, figures: dict[str, float]
) -> dict[str, float]:
    """Every question to both servers in turn, so that noise hits both."""
    connections = [Connection(server.port) for server in (few, many)]
    asked = [questions(server.total) for server in (few, many)]
    ratios: dict[str, float] = {}
    for name in asked[0]:
        times: list[list[float]] = [[], []]
        for number in range(-_WARM_UP, samples // 2 if name in MANY else samples):
            for side in (0, 1) if number % 2 else (1, 0):
                took = connections[side].time(asked[side][name]())
                if number >= 0:
                    times[side].append(took)
        for side, label in enumerate(("1k", "1m")):
            figures[f"{name}_{label}_p50_ms"] = 1000 * statistics.median(times[side])
            figures[f"{name}_{label}_p99_ms"] = 1000 * p99(times[side])
        ratios[f"p99_1m_over_1k_{name}"] = round(p99(times[1]) / p99(times[0]), 3)
    for connection in connections:
        connection.close()
    return {"p99_1m_over_1k_max": max(ratios.values())} | ratios


def _compare_pages(many: BenchedServer, samples: int, figures: dict[str, float]) -> dict[str, float]:
    """A page after nine tenths of all tasks against the first one."""
    connection = Connection(many.port)
    requests = {"first_page": get_request(TASKS), "late_page": late_page(connection)}
    times: dict[str, list[float]] = {name: [] for name in requests}
    for number in range(-_WARM_UP, samples):
        for name, request in requests.items():
            took = connection.time(request)
            if number >= 0:
                times[name].append(took)
    connection.close()
    for name, taken in times.items():
        figures[f"{name}_p50_ms"] = 1000 * statistics.median(taken)
        figures[f"{name}_p99_ms"] = 1000 * p99(taken)
    return {"late_page_over_first": round(figures["late_page_p99_ms"] / figures["first_page_p99_ms"], 3)}


def _compare_with_bare(
    many: BenchedServer, bare: TespServer, seconds: float, figures: dict[str, float]
) -> dict[str, float]:
    """Answers per second at 32 connections, each server in turn, medians of the rounds."""
    get = get_request(f"{TASKS}/{many.some_id}")
    ratios: dict[str, float] = {}
    for name, request in (("create", create_request()), ("get_minimal", get)):
        rates: list[list[float]] = [[], []]
        for _ in range(_ROUNDS):
            for side, server in enumerate((many, bare)):
                rates[side].append(throughput(server.port, request, CONNECTIONS, seconds))
        figures[f"{name}_per_s"], figures[f"{name}_bare_per_s"] = map(statistics.median, rates)
        ratios[f"{name}_over_bare"] = round(figures[f"{name}_per_s"] / figures[f"{name}_bare_per_s"], 3)
    return ratios


class _Shown(BaseModel):
    """A task in MINIMAL view, as a server would declare it that answers with models."""

    id: str
    state: State


class _ShownPage(BaseModel):
    tasks: list[_Shown]
    next_page_token: str | None = None


def _compare_with_pydantic(samples: int, figures: dict[str, float]) -> float:
    """From what the store returns to the bytes of a page's body: ours, and model by model."""
    items, token = [(new_task_id(), State.COMPLETE) for _ in range(PAGE)], new_task_id()

    def ours() -> bytes:
        return minimal_page(items, token, tes_1_0=False)

    def by_models() -> bytes:
        shown = [_Shown(id=one, state=state) for one, state in items]
        page = _ShownPage(tasks=shown, next_page_token=token)
        return to_json(page.model_dump(mode="json", exclude_none=True))

    assert ours() == by_models()
    timed = [_time(build, max(5, samples // 10)) for build in (ours, by_models)]
    figures["list_page_ms"], figures["list_page_pydantic_ms"] = (1000 * one for one in timed)
    return round(timed[1] / timed[0], 2)


def _time(build: Callable[[], object], times: int) -> float:
    """The median of so many runs, in seconds."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        build()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def p99(times: Sequence[float]) -> float:
    """The time that one of a hundred exceeds.

    The median over up to nine stretches of the samples, so that no burst of other programs' work decides it.
    """
    size = max(100, len(times) // _STRETCHES)
    parts = [sorted(times[start : start + size]) for start in range(0, len(times) - size + 1, size)]
    return statistics.median(part[len(part) * 99 // 100] for part in parts or [sorted(times)])


if __name__ == "__main__":
    main()
