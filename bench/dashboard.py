"""How soon the dashboard shows its first tasks: `python -m bench.dashboard`.

A real browser (`make test-services`) opens the list of a server with a thousand stored tasks and of one with
a million, in turn, each time as one that knows nothing yet.
"""

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.load_sqlite import load, warm_up
from bench.report import print_report
from tests.services.browser import Browser
from tests.services.tesp import ONLY_BUBBLEWRAP, TespServer

FEW = 1000


def main() -> None:
    """Load two stores, measure, print."""
    parser = argparse.ArgumentParser(description="Measure the dashboard's first list")
    parser.add_argument("--tasks", type=int, default=1_000_000, help="how many are stored")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tesp-bench-") as made, ExitStack() as stack:
        servers = [stack.enter_context(_server(Path(made), count)) for count in (FEW, options.tasks)]
        browser = stack.enter_context(Browser())
        seen = [[_first_row_s(server, browser) for server in servers] for _ in range(options.rounds)]
        answers = [[_answer_s(server) for server in servers] for _ in range(options.rounds)]
    few_s, many_s = (statistics.median(times) for times in zip(*seen, strict=True))
    few_answer_s, many_answer_s = (statistics.median(times) for times in zip(*answers, strict=True))
    figures = {
        "first_row_few_s": few_s,
        "first_row_many_s": many_s,
        "api_page_few_s": few_answer_s,
        "api_page_many_s": many_answer_s,
    }
    print_report("dashboard", figures, {"first_row_many_over_few": many_s / few_s})


def _server(folder: Path, tasks: int) -> TespServer:
    data = folder / str(tasks)
    load(data, tasks)
    warm_up(data)
    return TespServer(ONLY_BUBBLEWRAP, data=data)


def _answer_s(server: TespServer) -> float:
    """How long the API takes for the first page of rows."""
    began = time.perf_counter()
    answer = server.client.get("/tesp/v1/tasks", params={"page_size": 50})
    assert len(answer.json()["tasks"]) == 50
    return time.perf_counter() - began


def _first_row_s(server: TespServer, browser: Browser) -> float:
    """How long a new visitor waits for the first row of the list."""
    context = browser.context()
    page = context.new_page()
    began = time.perf_counter()
    page.goto(f"{server.url}/ui/")
    page.locator("tbody tr").first.wait_for()
    took_s = time.perf_counter() - began
    context.close()
    return took_s


if __name__ == "__main__":
    main()
