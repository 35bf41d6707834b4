"""Stands before all routes: no request goes on without an identity, but to what is public."""

from collections.abc import Sequence
from dataclasses import replace

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tesp_api.api.auth.address_prefix import prefix_of
from tesp_api.api.auth.authenticator import Authenticator, Proof
from tesp_api.api.auth.identity import OPEN, Identity, put_identity
from tesp_api.api.auth.login_guard import LoginGuard
from tesp_api.api.auth.verified import Verified
from tesp_api.api.errors import error_answer
from tesp_api.errors import NotAuthenticated, TespError
from tesp_api.settings import Settings

_PUBLIC = frozenset(
    {
        *("/ga4gh/tes/v1/service-info", "/v1/service-info", "/v1/tasks/service-info"),
        "/ga4gh/wes/v1/service-info",
        *("/healthz", "/readyz"),
        "/metrics",  # which has a token of its own
        *("/", "/ui", "/docs", "/docs/oauth2-redirect", "/openapi.json"),
        *("/docs/files/favicon-32x32.png", "/docs/files/swagger-ui.css", "/docs/files/swagger-ui-bundle.js"),
    }
)
_PASSWORD_MAX_BYTES = 8 * 1024
"""Of the header: it is kept until the answer, which for what is wrong comes late."""
_DASHBOARD = "/ui/"
"""Nothing but the dashboard's page and files is below it; what they show is asked for with credentials."""

_CHALLENGES = {"basic": 'Basic realm="TESP", charset="UTF-8"', "bearer": 'Bearer realm="TESP"'}
_NAMES = {"basic": "a user and a password (HTTP Basic)", "bearer": "a token (Bearer)"}


class Authentication:
    """ASGI middleware: finds out who sends a request, or answers 401; 429 where too many logins were wrong.

    Without any authenticator everybody is `OPEN`, and credentials that come nevertheless are not looked at:
    some clients send some to every server.
    """

    def __init__(self, app: ASGIApp, authenticators: Sequence[Authenticator], settings: Settings) -> None:
        self._app = app
        self._authenticators = authenticators
        self._admins = frozenset(settings.auth.admins)
        self._verified = Verified(settings.auth.revoked_within_s)
        self._guard = LoginGuard(settings.limits.logins)
        root_path = settings.server.root_path
        self._public = frozenset({root_path, *(f"{root_path}{path}" for path in _PUBLIC)})
        self._dashboard = f"{root_path}{_DASHBOARD}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                if not self._is_at_hand(scope):
                    self._put(scope, await self._sender(scope, self._given(scope)))
            except TespError as error:
                await self._refuse(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_at_hand(self, scope: Scope) -> bool:
        """Note who sends the request, or that nobody needs to know, if that takes no question to anything.

        Clients poll: nearly all requests end here.
        """
        if not self._authenticators:
            put_identity(scope, OPEN)
            return True
        if scope["path"] in self._public or scope["path"].startswith(self._dashboard):
            return True
        given = self._given(scope)
        identity = self._verified.known(_kept_as(given, scope))
        if identity is None:
            return False
        self._put(scope, identity)
        return True

    def _put(self, scope: Scope, identity: Identity) -> None:
        put_identity(scope, identity, lambda: self._sender(scope, self._given(scope)))

    def _given(self, scope: Scope) -> bytes:
        given: list[bytes] = [value for name, value in scope["headers"] if name == b"authorization"]
        if not given:
            ways = " or ".join(_NAMES[scheme] for scheme in self._schemes())
            raise NotAuthenticated(f"log in with {ways}", refused=False)
        if len(given) > 1:
            raise NotAuthenticated("the header Authorization is there several times")
        if _can_be_guessed(given[0]) and len(given[0]) > _PASSWORD_MAX_BYTES:
            raise NotAuthenticated(
                f"the header Authorization has more than {_PASSWORD_MAX_BYTES} bytes: no password has"
            )
        return given[0]

    async def _sender(self, scope: Scope, given: bytes) -> Identity:
        one, credentials = self._way_of(given)
        place, claimed = _place_of(scope), one.claimed(credentials)

        async def verify() -> Proof:
            try:
                return self._with_rank(await one.authenticate(credentials, place=place))
            except NotAuthenticated as error:
                if error.is_guess:
                    self._guard.count_wrong(place, claimed, given)
                raise

        whose = f"{place} {claimed}" if _can_be_guessed(given) else ""
        return await self._verified.identity(_kept_as(given, scope), verify, whose=whose)

    def _way_of(self, given: bytes) -> tuple[Authenticator, str]:
        """Who can look at these credentials, and what stands behind their scheme."""
        scheme, _, credentials = given.decode("latin-1").partition(" ")
        credentials = credentials.strip()
        for one in self._authenticators:
            if one.scheme == scheme.lower() and one.takes(credentials):
                return one, credentials
        raise NotAuthenticated("credentials of this kind are not accepted here")

    def _with_rank(self, proof: Proof) -> Proof:
        if proof.identity.owner not in self._admins:
            return proof
        return replace(proof, identity=replace(proof.identity, is_admin=True))

    def _schemes(self) -> list[str]:
        return list(dict.fromkeys(one.scheme for one in self._authenticators))

    def _refuse(self, error: TespError) -> Response:
        answer = error_answer(error)
        if isinstance(error, NotAuthenticated):
            for scheme in self._schemes():
                is_wrong_token = scheme == "bearer" and error.refused
                more = ', error="invalid_token"' if is_wrong_token else ""  # Source: RFC 6750, section 3.1
                answer.headers.append("WWW-Authenticate", _CHALLENGES[scheme] + more)
        return answer


def _place_of(scope: Scope) -> str:
    client = scope.get("client")
    return prefix_of(client[0]) if client else ""


def _can_be_guessed(given: bytes) -> bool:
    return given[:6].lower() == b"basic "


def _kept_as(given: bytes, scope: Scope) -> bytes:
    """Passwords are remembered for the place alone that they came from: elsewhere they may be guesses."""
    return _place_of(scope).encode() + b" " + given if _can_be_guessed(given) else given
