"""Whole installations on this machine, whose every part can be killed, paused and started again."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from tests.acceptance.faults.courses import ENDS, Course, Draft, Tracked, make_draft, runs_file
from tests.services.containers import require_docker
from tests.services.gated_http import GatedHttp
from tests.services.mongod import Mongod
from tests.services.pulsar_amqp import AmqpStockPulsar
from tests.services.pulsar_rest import StockPulsar
from tests.services.rabbitmq import RabbitMQ
from tests.services.tesp import FINAL, ONLY_BUBBLEWRAP, ONLY_DOCKER, TespServer, free_port, poll

REAL_APP = "tesp_api.tesp_api:app"
PASSWORD = "never-at-the-site-7d1f"
HOLD_WITHIN_S = 120.0
SEND_WITHIN_S = 120.0
LEASE_S = 6
"""With MongoDB a server that was killed is waited for so long."""
Hold = Literal["", "initializing", "running", "staging out"]
Link = Literal["server-mongod", "server-pulsar", "server-broker", "pulsar-broker", "worker-server"]
_PREFIX = "TESP_API_DESTINATIONS__LOCAL__"


def straight(link: Link, port: int) -> int:
    """The way between two parts, where nothing lies in between."""
    return port


@dataclass(frozen=True, slots=True)
class WorldKind:
    """Which parts there are. `channel`: workers reach the server (those of an embedded Pulsar always do).

    `through` gives for a link and the port that it leads to the port that is to be spoken to instead;
    `settings` are more of them for each server.
    """

    store: Literal["sqlite", "mongodb"]
    transport: Literal["embedded", "rest", "amqp"]
    channel: bool = False
    runtime: Literal["bubblewrap", "docker"] = "bubblewrap"
    servers: int = 1
    app: str = REAL_APP
    through: Callable[[Link, int], int] = straight
    settings: Iterable[tuple[str, str]] = ()

    @property
    def name(self) -> str:
        """What the matrix calls it."""
        parts = [self.store, self.transport, *(["channel"] if self.channel else [])]
        parts += ["docker"] if self.runtime == "docker" else []
        return "+".join(parts) + (f" x{self.servers}" if self.servers > 1 else "")

    @property
    def asks(self) -> bool:
        """Whether workers ask for a permit before they begin."""
        return self.channel or (self.transport, self.store) == ("embedded", "mongodb")

    @property
    def lends_logins(self) -> bool:
        return self.channel or self.transport == "embedded"


SQLITE_EMBEDDED = WorldKind("sqlite", "embedded")
MONGODB_EMBEDDED = WorldKind("mongodb", "embedded")
SQLITE_REST = WorldKind("sqlite", "rest")
MONGODB_REST = WorldKind("mongodb", "rest", channel=True)
AMQP = WorldKind("sqlite", "amqp")
AMQP_CHANNEL = WorldKind("sqlite", "amqp", channel=True)
KINDS = (SQLITE_EMBEDDED, MONGODB_EMBEDDED, SQLITE_REST, MONGODB_REST, AMQP, AMQP_CHANNEL)


class World:
    """`with World(kind, Random(1)) as world:` everything runs; `world.server` is the (first) server.

    `mongod`, `pulsar` and `broker` raise where the kind has none. `tasks` are those that were accepted and
    not yet checked. Nothing of a task but its mark in `shared` and its output at `web` is to be left.
    """

    def __init__(self, kind: WorldKind, random: Random) -> None:
        self.kind = kind
        self.random = random
        self.web = GatedHttp()
        self.tasks: list[Tracked] = []
        self.servers: list[TespServer] = []
        self._count = 0
        self._mongod: Mongod | None = None
        self._pulsar: StockPulsar | AmqpStockPulsar | None = None
        self._broker: RabbitMQ | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = tempfile.TemporaryDirectory(prefix="tesp-fault-", ignore_cleanup_errors=True)
            self.folder = Path(stack.enter_context(temporary)).resolve()
            self.shared = self.folder / "shared"
            self.shared.mkdir()
            self.shared.chmod(0o777)
            self.work = self.folder / "runs"
            self.work.mkdir()
            stack.enter_context(self.web)
            settings = self._start_parts(stack)
            for number in range(self.kind.servers):
                server = TespServer(
                    settings | self._channel(), data=self.folder / f"data-{number}", app=self.kind.app
                )
                server.is_forked = True
                self.servers.append(server)
                stack.enter_context(server)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    # -- the parts

    @property
    def server(self) -> TespServer:
        return self.servers[0]

    @property
    def mongod(self) -> Mongod:
        assert self._mongod is not None, f"{self.kind.name} has no MongoDB"
        return self._mongod

    @property
    def broker(self) -> RabbitMQ:
        assert self._broker is not None, f"{self.kind.name} has no broker"
        return self._broker

    @property
    def pulsar(self) -> StockPulsar | AmqpStockPulsar:
        assert self._pulsar is not None, f"{self.kind.name} has no Pulsar of its own"
        return self._pulsar

    @property
    def staging(self) -> Path:
        """Where the directories of jobs are, which are named by the job's id."""
        if self._pulsar is not None:
            return self._pulsar.staging.resolve()
        return self.folder / "data-0" / "pulsar" / "staging"

    def _start_parts(self, stack: ExitStack) -> dict[str, str]:
        """Start all but the servers; returns their settings."""
        kind = self.kind
        roots = [{"path": str(path), "mount": "rw"} for path in (self.shared, self.work)]
        settings = {
            **(ONLY_DOCKER if kind.runtime == "docker" else ONLY_BUBBLEWRAP),
            f"{_PREFIX}FILE_ROOTS": "@json " + json.dumps(roots),
            f"{_PREFIX}MAX_RUNNING": "16",
            "TESP_API_SECRET_KEY": "5e" * 16,
            "TESP_API_SCHEDULER__HEARTBEAT_S": "2",
            "TESP_API_SCHEDULER__LOST_AFTER_S": "20",
            "TESP_API_RETRIES__RUN_AGAIN": '@json ["executor"]',
            "TESP_API_RETRIES__PAUSE_S": "0.2",
            "TESP_API_WES__WORK_URL": str(self.work),
        }
        if kind.runtime == "docker":
            require_docker()
        if kind.store == "mongodb":
            self._mongod = stack.enter_context(Mongod())
            settings["TESP_API_SCHEDULER__LEASE_S"] = str(LEASE_S)
            port = kind.through("server-mongod", self._mongod.port)
            settings["TESP_API_STORE__URL"] = _with_port(self._mongod.url, self._mongod.port, port)
        settings |= self._start_pulsar(stack)
        settings |= {"FAULTS_FOLDER": str(self.folder), "FAULTS_STAGING": str(self.staging)}
        return settings | dict(kind.settings)

    def _start_pulsar(self, stack: ExitStack) -> dict[str, str]:
        kind = self.kind
        if kind.transport == "rest":
            rest = self._pulsar = stack.enter_context(StockPulsar())
            url = _with_port(rest.url, rest.port, kind.through("server-pulsar", rest.port))
            return {
                f"{_PREFIX}KIND": "rest",
                f"{_PREFIX}URL": url,
                f"{_PREFIX}PRIVATE_TOKEN": rest.private_token,
            }
        if kind.transport == "amqp":
            broker = self._broker = stack.enter_context(RabbitMQ())
            url = _with_port(broker.url, broker.port, kind.through("pulsar-broker", broker.port))
            self._pulsar = stack.enter_context(AmqpStockPulsar(broker, url=url))
            url = _with_port(broker.url, broker.port, kind.through("server-broker", broker.port))
            return {f"{_PREFIX}KIND": "amqp", f"{_PREFIX}URL": url}
        return {}

    def _channel(self) -> dict[str, str]:
        """The settings of a server's own channel, if workers are to reach it over TCP."""
        if not self.kind.channel or self.kind.transport == "embedded":
            return {}
        port = free_port()
        url = f"http://127.0.0.1:{self.kind.through('worker-server', port)}"
        return {"TESP_API_CHANNEL__PORT": str(port), f"{_PREFIX}CHANNEL_URL": url}

    # -- tasks

    def draft(self, course: Course, *, waits: bool = False, **more: Any) -> Draft:
        """A task to be sent, with a name and an input of its own; its input is there."""
        self._count += 1
        name = f"task-{self._count}"
        web = self.web.url
        if self.kind.lends_logins:
            web = web.replace("http://", f"http://user:{PASSWORD}@")
        draft = make_draft(name, course, web, self.shared, self.random, waits=waits, **more)
        self.web.files[f"/{name}/in"] = draft.data
        return draft

    def accepted(self, draft: Draft, task_id: str, *ends: str) -> Tracked:
        """Keep track of a task that a server has accepted; `ends`: states in which it may end as well."""
        allowed = {ENDS[draft.course], *ends}
        task = Tracked(task_id, draft.name, draft.course, draft.data, draft.marker, allowed)
        self.tasks.append(task)
        return task

    def create(self, course: Course = Course.COMPLETES, *ends: str, hold: Hold = "", **more: Any) -> Tracked:
        """Have a task run; with `hold`, return once it has come so far, where it waits for `let_go`."""
        draft = self.draft(course, waits=hold == "running", **more)
        path = {"initializing": f"/{draft.name}/in", "staging out": f"/{draft.name}/out"}.get(hold)
        if path is not None:
            self.web.held.add(path)
        task = self.accepted(draft, self.server.create(draft.document), *ends)
        if path is not None:
            self._await(lambda: path in self.web.waiting, f"{task.name} does not come to {hold}")
        elif hold:
            runs = runs_file(self.shared, task.name)
            self._await(lambda: len(_lines(runs)) >= 2, f"{task.name} does not come to {hold}")
        return task

    def let_go(self, task: Tracked) -> None:
        """Let a task go on that is held."""
        (self.shared / f"{task.name}.go").touch()
        self.web.held -= {f"/{task.name}/in", f"/{task.name}/out"}

    def send(self, draft: Draft, *, otherwise: Callable[[], Any], at: Sequence[TespServer] = ()) -> Tracked:
        """Create a task, again and again until that is acknowledged, at one server after the other.

        `otherwise` is called between two tries. All are the same request, so the task is created once.
        """
        deadline = time.monotonic() + SEND_WITHIN_S
        headers = {"Idempotency-Key": f"{self.folder.name}-{draft.name}"}
        for server in cycle(at or self.servers):
            with suppress(httpx.TransportError):
                answer = server.client.post(
                    "/ga4gh/tes/v1/tasks", json=draft.document, headers=headers, timeout=10
                )
                if answer.status_code == 200:
                    return self.accepted(draft, answer.json()["id"])
                assert answer.status_code == 503, answer.text
            assert time.monotonic() < deadline, f"{draft.name} was never accepted"
            otherwise()
        raise AssertionError("there is no server")

    def cancel(self, task: Tracked, server: TespServer | None = None, *, timeout_s: float = 30) -> None:
        """Ask for a task's end: it may be CANCELED then."""
        task.ends.add("CANCELED")
        client = (server or self.server).client
        answer = client.post(f"/ga4gh/tes/v1/tasks/{task.id}:cancel", timeout=timeout_s)
        assert answer.status_code == 200, answer.text

    def cancel_once_it_runs(self, task: Tracked) -> None:
        """Ask for the end of a task when its first executor has begun."""
        runs = runs_file(self.shared, task.name)
        self._await(lambda: _lines(runs), f"{task.name} does not run")
        self.cancel(task)

    def state_of(self, task: Tracked) -> str | None:
        """The task's state as the first server says; None while that does not answer."""
        try:
            answer = self.server.client.get(f"/ga4gh/tes/v1/tasks/{task.id}", timeout=10)
        except httpx.TransportError:
            return None
        return str(answer.json()["state"]) if answer.status_code == 200 else None

    def history_of(self, task: Tracked) -> list[str]:
        """What the first server says of the task's life, a line for each step; nothing while it is away."""
        try:
            answer = self.server.client.get(f"/tesp/v1/tasks/{task.id}/history", timeout=10)
        except httpx.TransportError:
            return []
        entries = answer.json()["history"] if answer.status_code == 200 else []
        return [f"{entry['time']} {entry['state']} {entry['attempt']} {entry['reason']}" for entry in entries]

    def has_ended(self, task: Tracked) -> bool:
        return self.state_of(task) in FINAL

    def _await(self, what: Callable[[], Any], why: str) -> None:
        log = self.server.log[-3000:]
        poll(what, timeout_s=HOLD_WITHIN_S, why=f"{why}\n{log}")


def _with_port(url: str, old: int, new: int) -> str:
    return url.replace(f":{old}", f":{new}")


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if os.path.exists(file) else []  # noqa: PTH110
