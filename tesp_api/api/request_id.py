"""Gives every request a name, and tells the audit log what was asked and what came of it.

The name (`X-Request-ID`) is the client's, or its proxy's, if it is a plain one, else it is made here. It is
in the answer, in the audit log, and among the system_logs of the tasks that the request created.
"""

import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tesp_api.api.auth.identity import await_identity, identity_in
from tesp_api.audit_log import AuditLog
from tesp_api.context import REQUEST_ID, TRACE_ID, TRACEPARENT
from tesp_api.settings import Settings
from tesp_api.tes.times import now
from tesp_api.tes.traceparent import parse_traceparent
from tesp_api.tracing.run_spans import request_spans
from tesp_api.tracing.span import Emit

HEADER = "X-Request-ID"

_PLAIN = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_HEADER = HEADER.lower().encode()
_KEY = "tesp.request"
_CHANGING = frozenset({"POST", "DELETE", "PUT", "PATCH"})
_MOST_TASKS = 20
"""So many ids of a bulk are in its line; all have the request's name in their system_logs."""

_ACTIONS = (
    ("POST", re.compile(r".*/wes/v1/runs/(?P<run>[^/]*)/cancel"), "cancel a run"),
    ("POST", re.compile(r".*/wes/v1/runs"), "create a run"),
    ("DELETE", re.compile(r".*/tesp/v1/runs/(?P<run>[^/]*)"), "delete a run"),
    ("GET", re.compile(r".*/wes/v1/runs"), "list runs"),
    ("GET", re.compile(r".*/(wes|tesp)/v1/runs/(?P<run>[^/]*)(/.*)?"), "read a run"),
    ("POST", re.compile(r".*/tasks:bulk"), "create tasks"),
    ("POST", re.compile(r".*/tasks:validate"), "validate a task"),
    ("POST", re.compile(r".*/tasks/(?P<task>[^/]*):cancel"), "cancel a task"),
    ("POST", re.compile(r".*/tasks"), "create a task"),
    ("DELETE", re.compile(r".*/tasks/(?P<task>[^/]*)"), "delete a task"),
    ("GET", re.compile(r".*/tasks"), "list tasks"),
    ("GET", re.compile(r".*/limits"), "read limits"),
    ("GET", re.compile(r".*/tasks/(?P<task>[^/]*)(/.*)?"), "read a task"),
)


class Noted(NamedTuple):
    """What is noted of a request on its way: its name, and the ids of the tasks and runs that it created."""

    request_id: str
    tasks: list[str]
    runs: list[str]


def request_id_of(request: Request) -> str:
    """The request's name; "" outside of the middleware."""
    noted = request.scope.get(_KEY)
    return noted.request_id if isinstance(noted, Noted) else ""


def note_tasks(request: Request, task_ids: list[str]) -> None:
    """Note which tasks the request created."""
    noted = request.scope.get(_KEY)
    if isinstance(noted, Noted):
        noted.tasks.extend(task_ids)


def note_run(request: Request, run_id: str) -> None:
    """Note which workflow run the request created."""
    noted = request.scope.get(_KEY)
    if isinstance(noted, Noted):
        noted.runs.append(run_id)


class RequestId:
    """ASGI middleware, before all others: names requests and writes the audit log.

    In the log are all requests that may change something, all that were refused with 401 or 403, and, if the
    settings ask for it, all others to tasks.
    """

    def __init__(self, app: ASGIApp, settings: Settings, audit: AuditLog, emit: Emit | None = None) -> None:
        """`emit` sends the spans of requests that create something, where there are traces."""
        self._app = app
        self._audit = audit
        self._reads_too = settings.audit.reads
        self._emit = emit if settings.tracing.is_on else None
        self._share = settings.tracing.share

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        noted = Noted(name_in(scope) or secrets.token_hex(8), [], [])
        scope[_KEY] = noted
        await_identity(scope)
        REQUEST_ID.set(noted.request_id)
        began_at = None
        if self._emit is not None:
            _note_trace(scope)
            began_at = now()
        status = 500

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                name = (_HEADER, noted.request_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), name]}
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        finally:
            if scope["method"] in _CHANGING or status in (401, 403) or self._reads_too:
                self._write(scope, noted, status)
            if self._emit is not None and began_at is not None and (noted.tasks or noted.runs):
                self._trace(self._emit, scope, noted, began_at)

    def _trace(self, emit: Emit, scope: Scope, noted: Noted, began_at: datetime) -> None:
        created = [*noted.tasks[:_MOST_TASKS], *noted.runs]
        action = str(_action(scope, noted)["action"])
        for span in request_spans(
            action, noted.request_id, TRACEPARENT.get(), created, began_at, now(), self._share
        ):
            emit(span)

    def _write(self, scope: Scope, noted: Noted, status: int) -> None:
        identity = identity_in(scope)
        client = scope.get("client")
        self._audit.write(
            request=noted.request_id,
            who=identity.owner if identity else None,
            name=identity.name or None if identity else None,
            origin=client[0] if client else None,
            **_action(scope, noted),
            tasks=noted.tasks[:_MOST_TASKS] or None,
            tasks_count=len(noted.tasks) if len(noted.tasks) > 1 else None,
            status=status,
            outcome=_outcome(status),
        )


def _note_trace(scope: Scope) -> None:
    """Which trace the request says that it is part of."""
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"]
    named = parse_traceparent(given[0]) if len(given) == 1 else None
    TRACEPARENT.set(given[0] if named else "")
    TRACE_ID.set(named.trace_id if named else "")


def name_in(scope: Scope) -> str | None:
    """The request's own name, if it has just one, and one that can stand in logs and headers."""
    given = [value for name, value in scope["headers"] if name == _HEADER]
    return given[0].decode() if len(given) == 1 and _PLAIN.fullmatch(given[0]) else None


def _action(scope: Scope, noted: Noted) -> Mapping[str, Any]:
    method, path = scope["method"], scope["path"]
    created = noted.runs[0] if noted.runs else None
    for of, form, action in _ACTIONS:
        found = form.fullmatch(path) if of == method else None
        if found:
            named = found.groupdict()
            return {"action": action, "task": named.get("task"), "run": created or named.get("run")}
    return {"action": f"{method} {path}"}


def _outcome(status: int) -> str:
    return "done" if status < 400 else "refused" if status < 500 else "failed"
