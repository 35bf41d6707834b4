"""The worker channel: where workers get logins and signed requests, each for its own attempt alone.

An application of its own, on a listener of its own: nothing of the API is reachable here, nor the channel
from the API. The protocol is described in `tesp_api.worker`.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tesp_api.api.channel_bodies import ReportPart, read_asks, read_object, read_permit, read_report
from tesp_api.api.errors import RETRY_AFTER_S
from tesp_api.api.request_id import name_in
from tesp_api.bell import Bell
from tesp_api.errors import AttemptOver, PermitRefused, TaskNotFound, TespError, WorkOrderRefused
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.logins import Logins
from tesp_api.storage.s3_grants import Ask, S3Grants
from tesp_api.storage.s3_signing import S3Signer, SignedRequest
from tesp_api.storage.work_orders import WorkOrder, WorkOrders
from tesp_api.store.base import Job, Standing, Task, TaskStore
from tesp_api.tes.states import FINAL, State

_log = logging.getLogger(__name__)

_MOST_GRANTS = 16
_HEARTBEAT = "heartbeat"
_BEAT_NUMBER = re.compile(rb'"beat": ?\d+')

_TO_CLEAN_UP = frozenset({"abort_upload"})
"""What a worker may still ask while its task is being canceled: nothing is brought in or out any more."""


class ReportKeeper(Protocol):
    """Keeps what workers report, as the store's `put_report`, `read_report` and `drop_reports` do."""

    async def put(self, job_id: str, name: str, data: bytes) -> None: ...

    async def get(self, job_id: str, name: str) -> bytes | None: ...

    async def drop(self, job_id: str, name: str | None = None) -> None: ...


class ChannelEndpoints:
    """`/channel/v1`. The work order that comes with each request decides what it gets."""

    def __init__(
        self,
        store: TaskStore,
        work_orders: WorkOrders,
        credentials: Credentials,
        logins: Logins,
        signer: S3Signer,
        bell: Bell,
        keepers: Mapping[str, ReportKeeper] = MappingProxyType({}),
    ) -> None:
        """`keepers` are for the reports of some destinations; those of others are kept in the store."""
        self._store = store
        self._work_orders = work_orders
        self._credentials = credentials
        self._logins = logins
        self._signer = signer
        self._bell = bell
        self._keepers = keepers
        self._grants: dict[str, S3Grants] = {}
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        """The endpoints as routes."""
        return [
            Route("/channel/v1/logins", self.lend_logins, methods=["POST"]),
            Route("/channel/v1/sign", self.sign, methods=["POST"]),
            Route("/channel/v1/permit", self.permit, methods=["POST"]),
            Route("/channel/v1/report", self.take_report, methods=["POST"]),
        ]

    async def lend_logins(self, request: Request) -> Response:
        """All logins that the URLs of the task need."""
        task = await self._task_of(request)
        await read_object(request)
        _require_going_on(task)
        return _answer({"logins": self._logins.of(task)})

    async def sign(self, request: Request) -> Response:
        """Each request that is asked for, signed, or none of them."""
        task = await self._task_of(request)
        asks = read_asks(await read_object(request))
        if not all(ask.operation in _TO_CLEAN_UP for ask in asks):
            _require_going_on(task)
        signed = await asyncio.to_thread(self._sign_all, task, asks)
        return _answer({"signed": [one._asdict() for one in signed]})

    async def permit(self, request: Request) -> Response:
        """Whether the worker may begin, or send its outputs: the store says so, in one step."""
        order = self._order_of(request)
        worker, step = read_permit(await read_object(request))
        try:
            await self._store.permit(order.task_id, order.attempt, worker, step)
        except PermitRefused as refusal:
            if refusal.is_canceled:
                return _answer({"cancel": True})
            raise
        except TaskNotFound:
            raise _does_not_exist(order) from None
        return _answer({"cancel": False})

    async def take_report(self, request: Request) -> Response:
        """News of the job: what comes along is kept in the store, then whoever follows it is rung for.

        Of a task that has ended meanwhile nobody needs to hear, nor to read in the log that a worker came.
        """
        try:
            task_id, standing = await self._standing_of(request)
        except AttemptOver as refusal:
            return _answer({"detail": str(refusal)}, refusal.http_status)
        parts = read_report(await read_object(request))
        job = standing.job
        is_news = job is None or await self._is_news(job, parts)
        again = [part.name for part in parts if job is not None and not await self._keep(job, part)]
        if is_news:
            self._bell.ring(task_id)
        return _answer({"cancel": standing.state is State.CANCELING, "again": again})

    async def _is_news(self, job: Job, parts: list[ReportPart]) -> bool:
        """Whether there is more than a sign of life, which whoever follows the job finds when he looks."""
        if [part.name for part in parts] != [_HEARTBEAT]:
            return True
        keeper = self._keepers.get(job.destination)
        before = await (keeper.get if keeper else self._store.read_report)(job.job_id, _HEARTBEAT)
        return before is None or _without_its_number(before) != _without_its_number(parts[0].data)

    async def _keep(self, job: Job, part: ReportPart) -> bool:
        """Add the part to the file; False if what comes before it is not there. May be repeated.

        Then another server has got that, and what is here is old: the site has the file.
        """
        keeper = self._keepers.get(job.destination)
        before = b""
        if part.offset:
            get = keeper.get if keeper else self._store.read_report
            before = await get(job.job_id, part.name) or b""
            if len(before) < part.offset:
                await (keeper.drop if keeper else self._store.drop_reports)(job.job_id, part.name)
                return False
        put = keeper.put if keeper else self._store.put_report
        await put(job.job_id, part.name, before[: part.offset] + part.data)
        return True

    def _sign_all(self, task: Task, asks: list[Ask]) -> list[SignedRequest]:
        """In a thread: five hundred signatures take some fifty milliseconds."""
        grants = self._grants_of(task)
        return [
            self._signer.sign(ask.operation, ask.url, ask.parameters, grants.credential_for(ask).rule)
            for ask in asks
        ]

    def _grants_of(self, task: Task) -> S3Grants:
        """Kept for a while: a worker asks often, and a task's document never changes."""
        with self._lock:
            grants = self._grants.pop(task.id, None) or S3Grants(task, self._credentials)
            self._grants[task.id] = grants
            if len(self._grants) > _MOST_GRANTS:
                del self._grants[next(iter(self._grants))]
            return grants

    async def _task_of(self, request: Request) -> Task:
        """The whole task, for what depends on its document. Raises: as `_standing_of`."""
        task_id, _ = await self._standing_of(request)
        return await self._store.get(task_id)

    async def _standing_of(self, request: Request) -> tuple[str, Standing]:
        """Where the task of the work order stands, which must be at the attempt that the order is for.

        Raises:
            WorkOrderRefused: there is none, or not one of this server.
            AttemptOver: the attempt has ended.
        """
        order = self._order_of(request)
        try:
            standing = await self._store.get_standing(order.task_id)
        except TaskNotFound:
            raise _does_not_exist(order) from None
        if standing.attempt != order.attempt:
            raise AttemptOver(f"task {order.task_id} is at attempt {standing.attempt}, not {order.attempt}")
        if standing.state in FINAL:
            raise AttemptOver(f"task {order.task_id} has ended {standing.state}")
        return order.task_id, standing

    def _order_of(self, request: Request) -> WorkOrder:
        """The work order that came with the request.

        Raises:
            WorkOrderRefused: there is none, or not one of this server.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise WorkOrderRefused("none came with the request, as Authorization: Bearer TOKEN")
        try:
            order = self._work_orders.read(token.strip())
        except WorkOrderRefused as refusal:
            request.state.task_id = f"{refusal.claimed_task_id} (as it says)"
            raise
        request.state.task_id = order.task_id
        return order


def build_channel(endpoints: ChannelEndpoints) -> Starlette:
    """The channel as an ASGI application."""
    return Starlette(
        routes=list(endpoints.routes()),
        exception_handlers={
            TespError: _answer_refusal,
            HTTPException: _answer_http_error,
            ClientDisconnect: _answer_nobody,
            Exception: _answer_unexpected,
        },
    )


def _does_not_exist(order: WorkOrder) -> AttemptOver:
    return AttemptOver(f"task {order.task_id} does not exist any more")


def _without_its_number(beat: bytes) -> bytes:
    return _BEAT_NUMBER.sub(b"", beat, count=1)


def _require_going_on(task: Task) -> None:
    if task.state is State.CANCELING:
        raise AttemptOver(f"task {task.id} is being canceled")


async def _answer_refusal(request: Request, error: Exception) -> Response:
    """Say no, and log whom; a token is never part of an error."""
    assert isinstance(error, TespError)  # noqa: S101 - registered for these alone
    client = request.client.host if request.client else "this machine"
    task_id = getattr(request.state, "task_id", "unknown")
    _log.warning(
        "%s refused with %d: task %s, of request %s, from %s: %s",
        request.url.path,
        error.http_status,
        task_id,
        name_in(request.scope) or "unknown",
        client,
        error,
    )
    if error.http_status == 503:
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        return _answer({"detail": "the server cannot say now: ask again"}, 503, headers)
    if error.http_status >= 500:
        return _answer({"detail": "something went wrong in the server; its log says what"}, 500)
    return _answer({"detail": str(error)}, error.http_status)


async def _answer_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for these alone
    return _answer({"detail": error.detail}, error.status_code, dict(error.headers or {}))


async def _answer_nobody(_: Request, __: Exception) -> Response:
    return _answer({"detail": "the request was not complete"}, 400)


async def _answer_unexpected(_: Request, __: Exception) -> Response:
    """Starlette raises the error again after this answer, and the HTTP server logs its traceback."""
    return _answer({"detail": "something went wrong in the server; its log says what"}, 500)


def _answer(body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(body, status, {"Cache-Control": "no-store", **(headers or {})})
