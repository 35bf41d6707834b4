"""The worker channel: where workers get logins and signed requests, each for its own attempt alone.

An application of its own, on a listener of its own: nothing of the API is reachable here, nor the channel
from the API. The protocol is described in `tesp_api.worker`.
"""

import asyncio
import logging
import threading
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tesp_api.api.channel_bodies import ReportPart, read_asks, read_object, read_permit, read_report
from tesp_api.api.errors import RETRY_AFTER_S
from tesp_api.bell import Bell
from tesp_api.errors import AttemptOver, PermitRefused, TaskNotFound, TespError, WorkOrderRefused
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.logins import Logins
from tesp_api.storage.s3_grants import Ask, S3Grants
from tesp_api.storage.s3_signing import S3Signer, SignedRequest
from tesp_api.storage.work_orders import WorkOrder, WorkOrders
from tesp_api.store.base import Task, TaskStore
from tesp_api.tes.states import FINAL, State

_log = logging.getLogger(__name__)

_MOST_GRANTS = 16

_TO_CLEAN_UP = frozenset({"abort_upload"})
"""What a worker may still ask while its task is being canceled: nothing is brought in or out any more."""


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
    ) -> None:
        self._store = store
        self._work_orders = work_orders
        self._credentials = credentials
        self._logins = logins
        self._signer = signer
        self._bell = bell
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
            task = await self._task_of(request)
        except AttemptOver as refusal:
            return _answer({"detail": str(refusal)}, refusal.http_status)
        parts = read_report(await read_object(request))
        again = [part.name for part in parts if not await self._keep(task, part)]
        self._bell.ring(task.id)
        return _answer({"cancel": task.state is State.CANCELING, "again": again})

    async def _keep(self, task: Task, part: ReportPart) -> bool:
        """Add the part to the file; False if what comes before it is not there. May be repeated."""
        if task.job is None:
            return True
        before = b""
        if part.offset:
            before = await self._store.read_report(task.job.job_id, part.name) or b""
            if len(before) < part.offset:
                return False
        await self._store.put_report(task.job.job_id, part.name, before[: part.offset] + part.data)
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
        """The task of the work order, which must be at the attempt that the order is for.

        Raises:
            WorkOrderRefused: there is none, or not one of this server.
            AttemptOver: the attempt has ended.
        """
        order = self._order_of(request)
        try:
            task = await self._store.get(order.task_id)
        except TaskNotFound:
            raise _does_not_exist(order) from None
        if task.attempt != order.attempt:
            raise AttemptOver(f"task {task.id} is at attempt {task.attempt}, not {order.attempt}")
        if task.state in FINAL:
            raise AttemptOver(f"task {task.id} has ended {task.state}")
        return task

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


def _require_going_on(task: Task) -> None:
    if task.state is State.CANCELING:
        raise AttemptOver(f"task {task.id} is being canceled")


async def _answer_refusal(request: Request, error: Exception) -> Response:
    """Say no, and log whom; a token is never part of an error."""
    assert isinstance(error, TespError)  # noqa: S101 - registered for these alone
    client = request.client.host if request.client else "this machine"
    task_id = getattr(request.state, "task_id", "unknown")
    _log.warning(
        "%s refused with %d: task %s, from %s: %s",
        request.url.path,
        error.http_status,
        task_id,
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
