"""A small client of TESP's own HTTP API, for the command line."""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx

from tesp_api.cli.exits import CommandFailed, Exit
from tesp_api.cli.login import NOBODY, Login

_TES = "/ga4gh/tes/v1"
_TESP = "/tesp/v1"
_PATIENCE_S = 60.0
"""So long does what only looks wait for a limit."""
_ANSWER_WITHIN_S, _PAUSE_S = 60.0, 0.5
"""So long is a request sent again that may have arrived, and how often; a server's restart takes less."""
_NO_ANSWER = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class LogRead:
    """Bytes of a log from `offset` on; `total` were written so far."""

    offset: int
    data: bytes
    total: int

    @property
    def next_offset(self) -> int:
        return self.offset + len(self.data)


class TespClient:
    """Talks to one server. Every failure is a `CommandFailed` whose text can be shown as it is."""

    def __init__(self, url: str, login: Login = NOBODY) -> None:
        self._login = login
        self.url = url.rstrip("/").removesuffix(_TES).removesuffix("/v1")
        host = _host_of(self.url)
        self.is_in_the_clear = self.url.startswith("http://") and host not in _LOOPBACK
        # A proxy named in the environment cannot reach this machine's own loopback.
        self._http = httpx.Client(
            base_url=self.url, timeout=30.0, auth=login.auth(), trust_env=host not in _LOOPBACK
        )

    def __enter__(self) -> "TespClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def create(self, task: dict[str, Any], *, patience_s: float = 0) -> str:
        """Create the task, once, and return its id; while a limit is reached, try again for `patience_s`."""
        answer = self.call("POST", f"{_TES}/tasks", json=task, patience_s=patience_s, once=True)
        return str(answer.json()["id"])

    def limits(self) -> dict[str, Any]:
        """What we may take of the server, and have."""
        return self.json("GET", f"{_TESP}/limits")

    def webhooks(self) -> dict[str, Any]:
        """The receivers of webhooks that the server's settings have; for admins."""
        return self.json("GET", f"{_TESP}/webhooks")

    def test_webhook(self, name: str) -> dict[str, Any]:
        """Have a test message sent to a receiver: whether it was `delivered`, and what was `said`."""
        return self.json("POST", f"{_TESP}/webhooks/{segment(name)}/test")

    def get(self, task_id: str, view: str = "MINIMAL") -> dict[str, Any]:
        """The task as this view shows it."""
        return self.json("GET", f"{_TES}/tasks/{segment(task_id)}", params={"view": view})

    def pages(self, params: list[tuple[str, str]]) -> Iterator[dict[str, Any]]:
        """The pages of a list, asked for one by one as they are wanted."""
        token: str | None = None
        while token != "":
            more = [("page_token", token)] if token else []
            page = self.json("GET", f"{_TES}/tasks", params=[*params, *more])
            yield page
            token = page.get("next_page_token", "")

    def cancel(self, task_id: str) -> None:
        """Ask for the task's cancellation; does nothing for one that has ended."""
        self.call("POST", f"{_TES}/tasks/{segment(task_id)}:cancel")

    def delete(self, task_id: str) -> None:
        """Delete the task, which must have ended."""
        self.call("DELETE", f"{_TESP}/tasks/{segment(task_id)}")

    def validate(self, task: dict[str, Any]) -> dict[str, Any]:
        """What would become of the task: `valid`, `faults`, `warnings` and, where known, `destination`."""
        return self.json("POST", f"{_TESP}/tasks:validate", json=task)

    def history(self, task_id: str) -> list[dict[str, Any]]:
        """The states the task went through, oldest first."""
        answer = self.json("GET", f"{_TESP}/tasks/{segment(task_id)}/history")
        return list(answer["history"])

    def events(self, task_id: str, after: int) -> tuple[int, list[dict[str, Any]]]:
        """The task's last attempt, and what was said of it from the event after this one on."""
        path = f"{_TESP}/tasks/{segment(task_id)}/events"
        told = self.json("GET", path, params={"after": after})
        return int(told["attempt"]), list(told["events"])

    def read_log(self, task_id: str, executor: int, stream: str, offset: int) -> LogRead:
        """A part of the log of an executor of the task's last attempt."""
        response = self.call(
            "GET",
            f"{_TESP}/tasks/{segment(task_id)}/logs/{executor}/{stream}",
            params={"offset": offset},
        )
        headers = response.headers
        return LogRead(
            offset=int(headers["x-tesp-log-offset"]),
            data=response.content,
            total=int(headers["x-tesp-log-total"]),
        )

    def rows(self, params: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """The first page of the tasks as rows."""
        return list(self.json("GET", f"{_TESP}/tasks", params=list(params))["tasks"])

    def json(self, method: str, path: str, **extra: Any) -> dict[str, Any]:
        """The object that a request is answered with."""
        answer = self.call(method, path, **extra).json()
        if not isinstance(answer, dict):
            raise CommandFailed(f"{self.url} answered something else than TES: is it a TESP server?")
        return answer

    def save(self, path: str, file: Path) -> None:
        """Save what a GET is answered with; the file appears whole.

        Raises:
            CommandFailed: it cannot be had, or not be written.
        """
        partial = file.with_name(f".{file.name}.part")
        try:
            with self._failures_told(), self._http.stream("GET", path) as response:
                if response.is_error:
                    response.read()
                    self._check(response)
                with partial.open("wb") as opened:
                    for data in response.iter_bytes():
                        opened.write(data)
            partial.replace(file)
        except OSError as error:
            raise CommandFailed(f"{file} cannot be written: {error.strerror}") from None
        finally:
            partial.unlink(missing_ok=True)

    def call(
        self, method: str, path: str, *, patience_s: float | None = None, once: bool = False, **extra: Any
    ) -> httpx.Response:
        """The answer, if it is a good one; 429 is waited out, as it says for how long, if patience lasts.

        `once`: with an Idempotency-Key, so that it can be sent again when the connection is lost.
        """
        if patience_s is None:
            patience_s = _PATIENCE_S if method == "GET" else 0
        deadline = time.monotonic() + patience_s
        if once:
            extra["headers"] = {"Idempotency-Key": str(uuid.uuid4())}
        while True:
            with self._failures_told():
                send = self._send_until_answered if once else self._http.request
                response = send(method, path, **extra)
            pause_s = _retry_after_s(response)
            if pause_s is None or time.monotonic() + pause_s > deadline:
                break
            time.sleep(pause_s)
        self._check(response)
        return response

    def _send_until_answered(self, method: str, path: str, **extra: Any) -> httpx.Response:
        """The answer to a request that does nothing twice. One that could not be sent is given up at once."""
        deadline = time.monotonic() + _ANSWER_WITHIN_S
        may_have_arrived = False
        while True:
            is_late = time.monotonic() > deadline
            try:
                response = self._http.request(method, path, **extra)
                if response.status_code != 503 or is_late:
                    return response
            except _NO_ANSWER as error:
                if is_late or (isinstance(error, httpx.ConnectError) and not may_have_arrived):
                    raise
            may_have_arrived = True
            time.sleep(_PAUSE_S)

    @contextmanager
    def stream(
        self, path: str, params: Mapping[str, str] | None, headers: dict[str, str], *, silence_s: float
    ) -> Iterator[httpx.Response]:
        """An answer that is read as it comes; it may be silent for so long.

        Raises:
            httpx.TransportError: as it comes: the caller tries again.
        """
        patience = httpx.Timeout(30.0, read=silence_s)
        with self._http.stream("GET", path, params=params, headers=headers, timeout=patience) as response:
            yield response

    def check(self, response: httpx.Response) -> None:
        """Return if the answer is a good one.

        Raises:
            CommandFailed: it is a refusal.
        """
        if response.is_error:
            response.read()
            self._check(response)

    def unreachable(self, error: httpx.TransportError) -> CommandFailed:
        """What to say of a server that does not answer."""
        if isinstance(error, httpx.ConnectError):
            said = f"no server answers at {self.url}: start one with `tesp serve`, or name another with --url"
        else:
            said = f"{self.url} does not answer ({type(error).__name__}): {error}"
        return CommandFailed(said, Exit.UNREACHABLE)

    @contextmanager
    def _failures_told(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise self.unreachable(error) from None

    def _check(self, response: httpx.Response) -> None:
        if response.status_code == 401:
            raise CommandFailed(self._not_logged_in(_explain(response)))
        if response.is_error:
            raise CommandFailed(_explain(response))

    def _not_logged_in(self, said: str) -> str:
        ways = "set TESP_TOKEN, or name --token-file or --user"
        if self._login.header is None:
            return f"{self.url} asks for a login: {ways}"
        return f"{self.url} does not let us in {self._login.of}: {said}; {ways}"


def _retry_after_s(response: httpx.Response) -> float | None:
    """How long the server asks us to wait because of a limit; None if it does not."""
    given = response.headers.get("retry-after", "")
    return float(given) if response.status_code == 429 and given.isdecimal() else None


def _host_of(url: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname:
            return parts.hostname
    except ValueError:
        pass
    raise CommandFailed(f"{url!r} is not a URL like http://127.0.0.1:8080", Exit.USAGE)


def segment(task_id: str) -> str:
    """An id as one segment of a path, whatever was typed."""
    if not task_id or set(task_id) & set("/?#%\\") or task_id in {".", ".."}:
        raise CommandFailed(f"{task_id!r} is not the id of a task", Exit.USAGE)
    return task_id


def _explain(response: httpx.Response) -> str:
    """A server's refusal in words, one line for each fault."""
    try:
        body = response.json()
        message, faults = body["msg"], body.get("faults") or []
        lines = [f"  {fault['field']}: {fault['message']}" for fault in faults]
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"the server answered {response.status_code} {response.reason_phrase}"
    if lines:
        return "\n".join([f"the server refuses this ({response.status_code}):", *lines])
    return f"{message} ({response.status_code})"
