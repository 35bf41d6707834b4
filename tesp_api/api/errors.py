"""Errors as answers, all of one shape: `{"status_code", "msg", "faults": [{"field", "message"}]}`.

`faults` is there where the request is at fault, and `limit` where one was reached. What failed inside is
logged and not told.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tesp_api.api.answers import json_answer
from tesp_api.api.request_id import HEADER as REQUEST_ID
from tesp_api.api.request_id import request_id_of
from tesp_api.errors import InvalidRequest, LimitReached, TespError

RETRY_AFTER_S = 5

_log = logging.getLogger(__name__)

_INTERNAL = "something went wrong in the server; its log says what"
_TRY_AGAIN = f"the service cannot answer now; try again in {RETRY_AFTER_S} seconds"


def install_error_answers(app: FastAPI) -> None:
    """Answer every error of `app` in the one shape."""
    app.add_exception_handler(TespError, _answer_tesp_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    app.add_exception_handler(Exception, _answer_unexpected)


def error_answer(error: Exception) -> Response:
    """The answer to an error; its class decides the status."""
    body = error_body(error)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if body["status_code"] == 503 else None
    if isinstance(error, LimitReached):
        headers = {"Retry-After": str(error.retry_after_s)}
    return json_answer(body, body["status_code"], headers)


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that reaches no endpoint."""
    return json_answer(_body(status, message), status, headers)


def error_body(error: Exception) -> dict[str, Any]:
    """What an answer says of an error: all of it where the request is at fault, else as good as nothing."""
    status = error.http_status if isinstance(error, TespError) else 500
    if isinstance(error, InvalidRequest):
        return _body(status, str(error)) | {"faults": [fault.as_json() for fault in error.faults]}
    if isinstance(error, LimitReached):
        return _body(status, str(error)) | {"limit": _limit(error)}
    if status < 500:
        return _body(status, str(error))
    return _body(status, _TRY_AGAIN if status == 503 else _INTERNAL)


def _limit(error: LimitReached) -> dict[str, Any]:
    return {
        "name": error.name,
        "value": error.value,
        "used": error.used,
        "retry_after_s": error.retry_after_s,
    }


async def _answer_tesp_error(request: Request, error: Exception) -> Response:
    ours = cast(TespError, error)
    if ours.http_status >= 500:
        _log.error("%s %s: %s", request.method, request.url.path, ours, exc_info=ours)
    return error_answer(ours)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """What an endpoint says, or the routing: an unknown path (404), a method that it does not have (405)."""
    refused = cast(HTTPException, error)
    message = refused.detail
    if message == HTTPStatus(refused.status_code).phrase:  # the routing's, which names nothing
        message = f"{message}: {request.method} {request.url.path}"
    headers = dict(refused.headers or {})
    if "Allow" in headers:  # the routing's too, in the order of a set
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
    return refusal(refused.status_code, message, headers)


async def _answer_nobody(_: Request, __: Exception) -> Response:
    """The client went away while it sent its request: nobody reads this."""
    return refusal(400, "the request was not complete")


async def _answer_unexpected(request: Request, error: Exception) -> Response:
    # Starlette raises the error again after this answer, and the HTTP server logs its traceback.
    # It goes past all middleware, so the request's name is put on here.
    _log.error("%s %s failed: %r", request.method, request.url.path, error)
    answer = error_answer(error)
    answer.headers[REQUEST_ID] = request_id_of(request)
    return answer


def _body(status: int, message: str) -> dict[str, Any]:
    return {"status_code": status, "msg": message}
