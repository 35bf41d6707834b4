"""The real server, except that it kills itself at a step of a task whose tag `kill` says at which.

A step is a write of the store or a call of the transport that is about the task: those that `FAULTS_COUNTED`
names, of `store`, `mailbox` and `transport`. They are counted from 1 as they begin. One that only looks is a
step if nothing has changed since the same was looked at, in the same phase of the task, or every poll would
count. The tag is `before:N` or `after:N`; 0 is the step that retires the task, -1 the one that gives another
attempt its job. With `never:0` steps are only counted. Each leaves a line in `FAULTS_FOLDER/NAME.steps`, and
the last one is in `FAULTS_FOLDER/NAME.killed`: a task kills once.
`FAULTS_FOLDER/NAME.retired` is there once the task is retired.
"""

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import tesp_api.app
from tesp_api.pulsar.amqp_broker import Broker
from tesp_api.pulsar.base import PulsarTransport
from tesp_api.pulsar.embedded import EmbeddedPulsar
from tesp_api.pulsar.local_job import LocalJob
from tesp_api.pulsar.mailbox import Mailbox
from tesp_api.pulsar.rest_http import PulsarHttp
from tesp_api.settings import Settings
from tesp_api.store.base import Task, TaskStore
from tesp_api.tes.states import FINAL, State
from tests.acceptance.faults.courses import EXECUTORS
from tests.acceptance.faults.scenario import RETIRING, RETRYING

NO_WRITES = frozenset(
    {
        *("open", "aclose", "check", "get", "get_state", "list_tasks", "list_states", "history", "read_log"),
        *("log_size", "read_report", "purge", "delete", "renew", "release", "release_server", "usage"),
        "list_canceling",
    }
)
"""What the store does that is no write about one task before its end. All else is."""
MAILBOX = frozenset({"put_report", "drop_reports"})
WRITES = frozenset(name for name in vars(TaskStore) if name[0] != "_") - NO_WRITES - MAILBOX
CALLS = frozenset({"launch", "status", "read_file", "let_go", "write_file", "cancel", "clean"})
LOOKS = frozenset({"status", "read_file"})


@dataclass(slots=True)
class Step:
    """One step of a task, and the phase in which the task was then; `changes` is false of what only looks."""

    number: int
    name: str
    phase: str
    changes: bool


@dataclass(slots=True)
class Victim:
    """A task whose steps are counted."""

    id: str
    name: str
    when: str
    number: int
    count: int = 0
    job_id: str = ""
    attempts: int = 0
    state: State = State.QUEUED
    is_retired: bool = False
    seen: set[tuple[str, str]] = field(default_factory=set)
    _door: threading.Lock = field(default_factory=threading.Lock)

    def before(self, part: str, name: str, *, changes: bool) -> Step | None:
        """Begin a step of a part of the server; None if this does not count."""
        with self._door:
            phase = self.phase()
            if part not in os.environ["FAULTS_COUNTED"].split() or (name, phase) in self.seen:
                return None
            if changes:
                self.seen.clear()
            else:
                self.seen.add((name, phase))
            self.count += 1
            step = Step(self.count, name, phase, changes)
        self._write("steps", "a", json.dumps(asdict(step)) + "\n")
        if self.when == "before" and self._is_chosen(step):
            self._die(step)
        return step

    def after(self, step: Step | None) -> None:
        if step is not None and self.when == "after" and self._is_chosen(step):
            self._die(step)

    def _is_chosen(self, step: Step) -> bool:
        if self.number == RETIRING:
            return step.name == "retire"
        if self.number == RETRYING:
            return (step.name, step.phase) == ("update", "between attempts")
        return step.number == self.number

    def _die(self, step: Step) -> None:
        if not _file(self.name, "killed").exists():
            self._write("dying", "w", json.dumps({**asdict(step), "phase": self.phase()}))
            _file(self.name, "dying").rename(_file(self.name, "killed"))  # whole, or not there
            os.kill(os.getpid(), signal.SIGKILL)

    def _write(self, kind: str, mode: str, text: str) -> None:
        with _file(self.name, kind).open(mode) as file:
            file.write(text)

    # -- where the task is

    def note(self, name: str, arguments: list[Any]) -> None:
        """Keep in mind what a write of the store has changed."""
        if name == "update":
            job = getattr(arguments[1], "job", None)
            if job is not None:
                self.job_id, self.attempts = job.job_id, self.attempts + 1
            elif "next_attempt_at" in str(getattr(arguments[1], "log", "")):
                self.job_id = ""
        elif name == "transition":
            self.state = State(arguments[1])
            if self.state is State.QUEUED:
                self.job_id = ""
        elif name == "request_cancel" and self.state not in FINAL:
            self.state = State.CANCELING
        elif name == "retire":
            self.is_retired = True
            self._write("retired", "w", "")

    def phase(self) -> str:
        """One of `scenario.PHASES`: what was stored, and what the worker has written, say which."""
        if self.is_retired:
            return "retired"
        if self.state in FINAL:
            return "cleaning"
        if self.state is State.CANCELING:
            return "canceling"
        if not self.job_id:
            return "between attempts" if self.attempts else "queued"
        return _phase_at_the_site(Path(os.environ["FAULTS_STAGING"]) / self.job_id)


def _phase_at_the_site(job: Path) -> str:
    events = job / "metadata" / "tesp" / "events.ndjson"
    lines = events.read_text().splitlines() if events.exists() else []
    told = [json.loads(line) for line in lines if line.endswith("}")]
    steps = [event for event in told if event["event"] not in ("message", "transfer")]
    if not steps:
        return "launch"
    last = steps[-1]
    if last["event"] == "executor_ended":
        return "staging out" if last["executor"] == EXECUTORS - 1 else "between executors"
    shown = {"executor_started": "running", "staging_out": "staging out"}
    return shown.get(last["event"], str(last["event"]))


_victims: dict[str, Victim] = {}


def _file(name: str, kind: str) -> Path:
    return Path(os.environ["FAULTS_FOLDER"]) / f"{name}.{kind}"


def _victims_in(*values: Any) -> list[Victim]:
    """Those that a call is about: from a claim, a job's order, an id, or a text that has an id in it."""
    named = [getattr(value, "task_id", None) or getattr(value, "job_id", None) or value for value in values]
    texts = [text for text in named if isinstance(text, str)]
    return [victim for victim in _victims.values() if any(victim.id in text for text in texts)]


def _arm(task: Task) -> None:
    when, _, number = task.request.get("tags", {}).get("kill", "").partition(":")
    name = task.request.get("name", "")
    if when and not _file(name, "killed").exists():
        _victims[task.id] = Victim(task.id, name, when, int(number))


class Killing:
    """Stands before a store or a transport: counts steps, and kills."""

    def __init__(self, real: Any, **parts: frozenset[str]) -> None:
        self._real = real
        self._parts = {name: part for part, names in parts.items() for name in names}

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._real, name)
        return self._counted(name, attribute) if name in self._parts else attribute

    async def claim(self, *args: Any, **kwargs: Any) -> list[Task]:
        """It is only known afterwards whose step this was."""
        tasks: list[Task] = await self._real.claim(*args, **kwargs)
        for victim in _victims_in(*(task.id for task in tasks)):
            victim.after(victim.before("store", "claim", changes=True))
        return tasks

    async def create(self, task: Task, **more: Any) -> str:
        _arm(task)
        create = self._counted("create", self._real.create)
        task_id: str = await create(task, **more)
        return task_id

    def _counted(
        self, name: str, method: Callable[..., Coroutine[Any, Any, Any]]
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            values = [*args, *kwargs.values()]
            victims = _victims_in(values[0].id if name == "create" else "", *values)
            if not victims:
                return await method(*args, **kwargs)
            shown = f"{name}:{args[1]}" if name in ("transition", "read_file", "write_file") else name
            step = victims[0].before(self._parts[name], shown, changes=name not in LOOKS)
            try:
                result = await method(*args, **kwargs)
            except asyncio.CancelledError:
                if name == "retire":  # done, and its driver ended before it heard so
                    victims[0].note(name, values)
                raise
            victims[0].note(name, values)
            victims[0].after(step)
            return result

        return call


# -- the steps that only the transports know


def _count_parts_of_local_jobs(name: str) -> None:
    """What the embedded transport does between setup and submission, and while it cleans up."""
    real = getattr(LocalJob, name)

    def counted(job: LocalJob, *args: Any) -> Any:
        victims = _victims_in(job.job_id)
        step = victims[0].before("transport", f"local:{name}", changes=True) if victims else None
        result = real(job, *args)
        if victims:
            victims[0].after(step)
        return result

    setattr(LocalJob, name, counted)


def _count_requests(name: str) -> None:
    """Each request to a Pulsar with a web server."""
    real = getattr(PulsarHttp, name)

    async def counted(http: PulsarHttp, *args: Any, **kwargs: Any) -> Any:
        verb, path = (args[0], args[1]) if name == "send" else (name, args[0])
        query = next((value for value in args[1:] if isinstance(value, dict)), {})
        victims = _victims_in(path, query.get("job_id"))
        if not victims:
            return await real(http, *args, **kwargs)
        what = query.get("name", path.rpartition("/")[2] if path.count("/") > 2 else "job")
        step = victims[0].before("transport", f"{verb} {what}", changes=verb != "GET")
        result = await real(http, *args, **kwargs)
        victims[0].after(step)
        return result

    setattr(PulsarHttp, name, counted)


def _count_messages() -> None:
    """Each message to a Pulsar behind a broker, and the probes that are (also) about the task."""
    real: Any = Broker.send

    async def counted(broker: Broker, purpose: str, body: Mapping[str, Any]) -> None:
        text = json.dumps(body)
        victims = _victims_in(text)
        if not victims:
            await real(broker, purpose, body)
            return
        errands = _errands(body, victims[0].id)
        step = victims[0].before(
            "transport",
            f"message:{' '.join(['probe', *errands]) if errands else purpose}",
            changes=purpose != "status" and errands != ["read"],
        )
        await real(broker, purpose, body)
        victims[0].after(step)

    cast(Any, Broker).send = counted


def _errands(body: Mapping[str, Any], task_id: str) -> list[str]:
    """What a probe is to do with jobs of the task; nothing, if this is no probe."""
    for file in body.get("remote_staging", {}).get("setup", ()):
        if file["name"] == "errands.json":
            errands = json.loads(file["action"]["contents"])
            return sorted({errand["do"] for errand in errands if errand["job"].startswith(task_id)})
    return []


_real_store, _real_transports = tesp_api.app.build_store, tesp_api.app.build_transports


_NOTHING_REPORTED: Mapping[str, Mailbox] = MappingProxyType({})


def _killing_transports(
    settings: Settings, mailbox: Mailbox | None = None, reported: Mapping[str, Mailbox] = _NOTHING_REPORTED
) -> Mapping[str, PulsarTransport]:
    real: Mapping[str, Any] = _real_transports(settings, mailbox, reported)
    return {name: cast(Any, _killing_transport(transport)) for name, transport in real.items()}


def _killing_transport(real: Any) -> Any:
    return Killing(real, transport=CALLS) if isinstance(real, EmbeddedPulsar) else real


def _killing_store(settings: Settings) -> TaskStore:
    return cast(TaskStore, Killing(_real_store(settings), store=WRITES, mailbox=MAILBOX))


for _name in ("make", "place", "forget_launch", "remove"):
    _count_parts_of_local_jobs(_name)
for _name in ("send", "send_file", "fetch"):
    _count_requests(_name)
_count_messages()
tesp_api.app.build_store = _killing_store
tesp_api.app.build_transports = _killing_transports
app = tesp_api.app.create_app()
