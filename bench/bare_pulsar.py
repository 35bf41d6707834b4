"""Clients of Pulsar and nothing else: what TESP's rates are measured beside.

Each runs jobs with the very worker archive and task.json that TESP sends, as many at once, by the same calls
of Pulsar and with the same pauses: set up, place both files, submit; ask until the job is over; read what the
worker wrote; clean.
"""

import asyncio
import base64
import http.client
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aio_pika

from tesp_api.pulsar.amqp_broker import queue_name
from tesp_api.pulsar.base import JobOrder
from tesp_api.pulsar.job_files import TASK_FILE, WORKER_FILE, WORKER_TEXT_FILE, worker_command
from tesp_api.pulsar.worker_text import as_text
from tesp_api.runner.job_plan import plan_job
from tesp_api.runner.lending import NOTHING
from tesp_api.runner.needs import needs_of
from tesp_api.settings import Settings
from tesp_api.store.base import Task
from tesp_api.tes.ids import new_task_id
from tesp_api.tes.states import State
from tesp_api.tes.times import now

POLL_MIN_S, POLL_MAX_S = 0.05, 5.0
"""As TESP polls: often at first, and after a tenth of the job's age later."""

_RESULT = "tesp/result.json"


def orders(document: Mapping[str, Any], destination: Mapping[str, Any], count: int) -> list[JobOrder]:
    """What TESP would send for so many tasks of this document to a destination with these settings."""
    settings = Settings.model_validate({"destinations": {"local": destination}})
    needs = needs_of(document, settings, frozenset())
    tasks = [Task(new_task_id(), "", State.QUEUED, now(), document, attempt=1) for _ in range(count)]
    return [plan_job(task, "local", settings, None, NOTHING, needs) for task in tasks]


def _run_all(run: Callable[[JobOrder], None], jobs: list[JobOrder], at_once: int) -> float:
    """The seconds that all of them take in so many threads."""
    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(run, jobs))
    return time.perf_counter() - began


def _pauses() -> Iterator[float]:
    began = time.monotonic()
    while True:
        yield min(max(POLL_MIN_S, (time.monotonic() - began) / 10), POLL_MAX_S)


def _check(result: bytes) -> None:
    if json.loads(result)["state"] != "COMPLETE":
        raise SystemExit(f"a bare job ended otherwise: {result[:2000]!r}")


# -- REST


class BareRest:
    """By the REST API, over a connection for each thread that is kept open."""

    def __init__(self, port: int, private_token: str, python: str = "python3") -> None:
        self._port, self._token = port, private_token
        self._command = worker_command(python)
        self._idle: list[http.client.HTTPConnection] = []

    def run(self, jobs: list[JobOrder], at_once: int) -> float:
        """The seconds that they take."""
        return _run_all(self._run, jobs, at_once)

    def _run(self, order: JobOrder) -> None:
        job = f"/jobs/{order.job_id}"
        self._ask("POST", "/jobs", job_id=order.job_id)
        self._ask("POST", f"{job}/files", order.worker, type="tool", name=WORKER_FILE)
        self._ask("POST", f"{job}/files", order.task_json, type="tool", name=TASK_FILE)
        self._ask("POST", f"{job}/submit", command_line=self._command)
        for pause_s in _pauses():
            time.sleep(pause_s)
            if json.loads(self._ask("GET", f"{job}/status"))["status"] != "queued" and self._has_ended(job):
                break
        self._read(job, "tesp/events.ndjson")
        _check(self._read(job, _RESULT) or b"{}")
        self._ask("GET", f"{job}/status")
        self._ask("DELETE", job)
        self._ask("GET", f"{job}/status")

    def _has_ended(self, job: str) -> bool:
        heartbeat = self._read(job, "tesp/heartbeat")
        return heartbeat is not None and bool(json.loads(heartbeat)["ended"])

    def _read(self, job: str, name: str) -> Any:
        return self._ask("GET", f"{job}/files", missing=500, type="output_metadata", name=name)

    def _ask(self, method: str, path: str, body: bytes | None = None, missing: int = 0, **query: str) -> Any:
        """The body of the answer; None if its status is that of what is missing."""
        target = f"{path}?{urlencode({**query, 'private_token': self._token})}"
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(method, target, body)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException):  # closed while it lay idle
            connection.close()
            return self._ask(method, path, body, missing, **query)
        self._idle.append(connection)
        if answer.status == missing:
            return None
        if answer.status != 200:
            raise SystemExit(f"Pulsar answers {answer.status} to {method} {path}: {data[:500]!r}")
        return data


# -- embedded


class BareEmbedded:
    """A PulsarApp in this process, asked for the job's result as often as a poll would."""

    def __init__(self, app: Any, python: str) -> None:
        self._manager = app.managers["_default_"]
        self._command = worker_command(python)

    def run(self, jobs: list[JobOrder], at_once: int) -> float:
        """The seconds that they take."""
        return _run_all(self._run, jobs, at_once)

    def _run(self, order: JobOrder) -> None:
        job_id, manager = order.job_id, self._manager
        manager.setup_job(job_id, None, None)
        directory = Path(manager.job_directory(job_id).path)
        (directory / "tool_files").mkdir(exist_ok=True)
        (directory / "tool_files" / WORKER_FILE).write_bytes(order.worker)
        (directory / "tool_files" / TASK_FILE).write_bytes(order.task_json)
        manager.preprocess_and_launch(job_id, {"command_line": self._command, "env": []})
        for pause_s in _pauses():
            if manager.get_status(job_id) in ("complete", "failed", "lost"):
                break
            time.sleep(pause_s)
        _check((directory / "metadata" / _RESULT).read_bytes())
        manager.clean(job_id)


@contextmanager
def pulsar_app(folder: Path) -> Iterator[Any]:
    """A PulsarApp with the settings of TESP's own."""
    from galaxy import job_metrics
    from pulsar.core import PulsarApp

    metrics: Any = job_metrics
    app = PulsarApp(
        config_dir=str(folder),
        staging_directory=str(folder / "staging"),
        persistence_directory=str(folder / "persistence"),
        tool_dependency_dir="none",
        conda_auto_init=False,
        conda_auto_install=False,
        job_metrics=metrics.JobMetrics(conf_dict={}),
        managers={"_default_": {"type": "unqueued", "tmp_dir": tempfile.gettempdir()}},
    )
    try:
        yield app
    finally:
        app.shutdown()


# -- AMQP


class BareAmqp:
    """By messages; the result comes in Pulsar's last one. There is no message that cleans."""

    def __init__(self, url: str, manager: str, python: str = "python3") -> None:
        self._url, self._manager = url, manager
        self._command = worker_command(python, WORKER_TEXT_FILE)

    def run(self, jobs: list[JobOrder], at_once: int) -> float:
        """The seconds that they take."""
        return asyncio.run(self._run(jobs, at_once))

    async def _run(self, jobs: list[JobOrder], at_once: int) -> float:
        ended: dict[str, asyncio.Future[dict[str, Any]]] = {}

        async def hear(message: Any) -> None:
            body = json.loads(message.body)
            if body["complete"] == "true" and body["job_id"] in ended:
                ended[body["job_id"]].set_result(body)
            await message.ack()

        async with await aio_pika.connect(self._url) as connection:
            channel = await connection.channel(publisher_confirms=True)
            exchange = await channel.declare_exchange("pulsar", aio_pika.ExchangeType.DIRECT, durable=True)
            queue = await channel.declare_queue(queue_name(self._manager, "status_update"), durable=True)
            await queue.bind(exchange, queue.name)
            await queue.consume(hear)
            slots = asyncio.Semaphore(at_once)

            async def run(order: JobOrder) -> None:
                async with slots:
                    future = ended[order.job_id] = asyncio.get_running_loop().create_future()
                    message = aio_pika.Message(
                        json.dumps(self._setup(order)).encode(),
                        content_type="application/json",
                        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    )
                    await exchange.publish(message, queue_name(self._manager, "setup"), mandatory=True)
                    body = await future
                    sources = {one["type"]: one for one in body["realized_dynamic_file_sources"]}
                    files = json.loads(sources["home.json"]["contents"])["files"]
                    _check(base64.b64decode(files["result.json"]))

            began = time.perf_counter()
            await asyncio.gather(*(run(order) for order in jobs))
            return time.perf_counter() - began

    def _setup(self, order: JobOrder) -> dict[str, Any]:
        files = {WORKER_TEXT_FILE: as_text(order.worker), TASK_FILE: order.task_json.decode()}
        return {
            "job_id": order.job_id,
            "command_line": self._command,
            "setup_params": {"job_id": order.job_id},
            "env": [],
            "submit_params": {},
            "remote_staging": {
                "setup": [
                    {"name": name, "type": "tool", "action": {"action_type": "message", "contents": text}}
                    for name, text in files.items()
                ]
            },
            "dynamic_file_sources": [{"type": "home.json", "path": "../metadata/tesp/home.json"}],
        }
