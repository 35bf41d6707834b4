"""`/metrics`, for Prometheus."""

import hmac

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tesp_api.api.errors import refusal
from tesp_api.metrics.page import Metrics
from tesp_api.settings import Settings

PATH = "/metrics"

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="TESP metrics"'}


class MetricsEndpoint:
    """Tells of all tasks, so it has a token of its own, which opens nothing else.

    Without one, everybody may read it where nobody logs in, and nobody where users do.
    """

    def __init__(self, metrics: Metrics, settings: Settings) -> None:
        self._metrics = metrics
        token = settings.metrics.token
        self._token = None if token is None else token.get_secret_value().encode()
        self._is_open = settings.auth.is_open

    def routes(self) -> list[Route]:
        """The endpoint as a route."""
        return [Route(PATH, self.tell, methods=["GET"])]

    async def tell(self, request: Request) -> Response:
        """All metrics, in Prometheus's text format, or in OpenMetrics for who asks for it."""
        if self._token is None and not self._is_open:
            return refusal(403, "set metrics.token to let Prometheus read this: it is for no user")
        if self._token is not None and not self._has_token(request):
            return refusal(401, "send the server's metrics.token as Authorization: Bearer", _CHALLENGE)
        text, content_type = await self._metrics.page(request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    def _has_token(self, request: Request) -> bool:
        given = request.headers.getlist("authorization")
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        is_right = hmac.compare_digest(token.strip().encode("latin-1", "replace"), self._token or b"")
        return scheme.lower() == "bearer" and is_right
