"""How long after an event at the site the API shows the state that it brings, where workers report."""

import json
import statistics
import time
from contextlib import ExitStack, closing
from datetime import datetime

from bench.http_client import Connection, get_request
from tests.services.pulsar_rest import StockPulsar
from tests.services.tesp import FINAL, ONLY_BUBBLEWRAP, TespServer, free_port

AT_ONCE = 4
_NEVER_S = "300"
_BETWEEN_LOOKS_S = 0.003
_TASK = {"executors": [{"image": "busybox:latest", "command": ["sleep", "0.5"]}]}
_EVENT_OF = {"INITIALIZING": "initializing", "RUNNING": "executor_started", "COMPLETE": "ended"}
_ORDER = ["QUEUED", "INITIALIZING", "RUNNING", "COMPLETE"]


def measure_pushed_states(tasks: int, figures: dict[str, float]) -> None:
    """So many tasks one at a time, then as many several at once; the server hardly ever looks by itself."""
    with ExitStack() as stack:
        pulsar = stack.enter_context(StockPulsar())
        server = stack.enter_context(TespServer(_settings(pulsar)))
        for name, at_once in (("pushed_state", 1), (f"pushed_state_{AT_ONCE}_at_once", AT_ONCE)):
            _latencies_s(server, at_once)  # warms up
            latencies = [
                latency_s
                for _ in range(max(1, tasks // at_once))
                for latency_s in _latencies_s(server, at_once)
            ]
            figures[f"{name}_p50_ms"] = 1000 * statistics.median(latencies)
            figures[f"{name}_p95_ms"] = 1000 * sorted(latencies)[len(latencies) * 95 // 100]


def _settings(pulsar: StockPulsar) -> dict[str, str]:
    prefix, port = "TESP_API_DESTINATIONS__LOCAL__", free_port()
    return {
        **ONLY_BUBBLEWRAP,
        f"{prefix}KIND": "rest",
        f"{prefix}URL": pulsar.url,
        f"{prefix}PRIVATE_TOKEN": pulsar.private_token,
        "TESP_API_CHANNEL__PORT": str(port),
        "TESP_API_CHANNEL__URL": f"http://127.0.0.1:{port}",
        "TESP_API_SCHEDULER__POLL_MIN_S": _NEVER_S,
        "TESP_API_SCHEDULER__POLL_MAX_S": _NEVER_S,
    }


def _latencies_s(server: TespServer, at_once: int) -> list[float]:
    """Of each change of state of so many tasks that are begun together."""
    ids = [server.create(_TASK) for _ in range(at_once)]
    seen: dict[str, dict[str, float]] = {task_id: {} for task_id in ids}
    going_on = list(ids)
    with closing(Connection(server.port)) as connection:
        while going_on:
            for task_id in list(going_on):
                state = json.loads(connection.ask(get_request(f"/ga4gh/tes/v1/tasks/{task_id}")))["state"]
                for passed in _ORDER[: _ORDER.index(state) + 1] if state in _ORDER else ():
                    seen[task_id].setdefault(passed, time.time())
                if state in FINAL:
                    going_on.remove(task_id)
            time.sleep(_BETWEEN_LOOKS_S)
    return [latency for task_id in ids for latency in _of_task(server, task_id, seen[task_id])]


def _of_task(server: TespServer, task_id: str, seen: dict[str, float]) -> list[float]:
    answer = server.client.get(f"/tesp/v1/tasks/{task_id}/events").json()
    happened = {
        event["event"]: datetime.fromisoformat(event["time"]).timestamp() for event in answer["events"]
    }
    if not seen.keys() >= _EVENT_OF.keys():
        raise SystemExit(f"task {task_id} was not COMPLETE: {server.get(task_id)}")
    return [seen[state] - happened[event] for state, event in _EVENT_OF.items()]
