"""Lets web pages from elsewhere use the API, where the settings say from where.

Every method and header that the API knows is allowed, but no cookies: tokens go in the header Authorization.
A preflight's answer is good for 30 days, or as long as the browser keeps it.
Source: TES 1.1, "CORS"; the WHATWG's Fetch standard.
"""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from tesp_api.api.errors import refusal
from tesp_api.api.idempotency import HEADER as IDEMPOTENCY_KEY
from tesp_api.api.request_id import HEADER as REQUEST_ID

_METHODS = ("GET", "HEAD", "POST", "DELETE")
_REQUEST_HEADERS = ("Authorization", "Content-Type", IDEMPOTENCY_KEY, REQUEST_ID)
_ANSWER_HEADERS = (
    REQUEST_ID,
    "Retry-After",
    "WWW-Authenticate",
    "X-Tesp-Log-Offset",
    "X-Tesp-Log-Total",
    "X-Tesp-Log-Live",
)
_MAX_AGE_S = 30 * 24 * 3600


class Cors(CORSMiddleware):
    """ASGI middleware: the answers that browsers ask for, and refusals in the one shape."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=_REQUEST_HEADERS,
            expose_headers=_ANSWER_HEADERS,
            max_age=_MAX_AGE_S,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to the browser's question whether the page may send its request."""
        answer = super().preflight_response(request_headers)
        if answer.status_code == 200:
            return Response(status_code=204, headers=self._only_cors(answer))
        return refusal(answer.status_code, bytes(answer.body).decode(), self._only_cors(answer))

    def _only_cors(self, answer: Response) -> dict[str, str]:
        return {key: value for key, value in answer.headers.items() if not key.startswith("content-")}
