"""Errors as answers, all of one shape: `{"status_code", "msg", "faults": [{"field", "message"}]}`.

`faults` is there where the request is at fault. What failed inside is logged and not told.
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
from tesp_api.errors import InvalidRequest, TespError

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


def error_answer(error: TespError) -> Response:
    """The answer to an error of ours; its class decides the status."""
    status = error.http_status
    if isinstance(error, InvalidRequest):
        return _answer(status, str(error), faults=[fault.as_json() for fault in error.faults])
    if status < 500:
        return _answer(status, str(error))
    if status == 503:
        return _answer(status, _TRY_AGAIN, headers={"Retry-After": str(RETRY_AFTER_S)})
    return _answer(status, _INTERNAL)


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
    return _answer(refused.status_code, message, headers=headers)


async def _answer_nobody(_: Request, __: Exception) -> Response:
    """The client went away while it sent its request: nobody reads this."""
    return _answer(400, "the request was not complete")


async def _answer_unexpected(request: Request, error: Exception) -> Response:
    # Starlette raises the error again after this answer, and the HTTP server logs its traceback.
    _log.error("%s %s failed: %r", request.method, request.url.path, error)
    return _answer(500, _INTERNAL)


def _answer(
    status: int,
    message: str,
    *,
    faults: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    body: dict[str, Any] = {"status_code": status, "msg": message}
    if faults is not None:
        body["faults"] = faults
    return json_answer(body, status, headers)
