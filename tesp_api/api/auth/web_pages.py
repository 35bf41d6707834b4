"""What web pages may do to a server whose user looks at them.

A page from anywhere can send requests to every address that the browser reaches, this machine's own loopback
too, and the browser adds a password of HTTP Basic by itself. It cannot keep the browser from telling from
where a request comes. So what changes something is refused if it comes from a page that is neither the
server's own (the Swagger UI) nor from one of `server.cors_origins`. Clients that are no browsers tell nothing
of it, and pass.

Where nobody logs in there is more: a page whose host name is made to point to this machine (DNS rebinding) is
of the same origin for the browser, and could read as well. Its requests have that name in `Host`. And a
request that comes over the network, not loopback, is refused unless the settings allow it, since this is the
only place that knows how a server was started by others than `tesp serve`.
"""

import ipaddress
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from tesp_api.api.errors import error_answer
from tesp_api.errors import NotAllowed
from tesp_api.settings import Settings

_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN = frozenset({b"same-origin", b"none"})  # "none": the user's own doing, such as an address typed in

_FOR_THIS_MACHINE = (
    "nobody has to log in here, so this server answers its own machine alone: choose auth.modes, "
    "or set auth.open_to_network"
)
_OTHER_NAME = (
    "the request calls this server by a name that it does not know, as a web page does that means harm: "
    "if it is called so, put the name into auth.hosts"
)
_OTHER_SITE = (
    "the request comes from a web page of another site: if that is to use this server, "
    "put its origin into server.cors_origins"
)


class WebPages:
    """ASGI middleware: 403 for what a page from elsewhere, or the network, must not send."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._origins = frozenset(origin.encode() for origin in settings.server.cors_origins)
        self._is_for_all = settings.auth.is_open and not settings.auth.open_to_network
        self._hosts = frozenset(host.lower().rstrip(".") for host in settings.auth.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal:
                await error_answer(NotAllowed(refusal))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        if self._is_for_all:
            if not _is_of_this_machine(scope):
                return _FOR_THIS_MACHINE
            if not self._is_our_name(_header(scope, b"host") or b""):
                return _OTHER_NAME
        if scope["method"] not in _HARMLESS and not self._may_change(scope):
            return _OTHER_SITE
        return None

    def _is_our_name(self, host: bytes) -> bool:
        return _is_harmless_name(host) or _name_in(host) in self._hosts

    def _may_change(self, scope: Scope) -> bool:
        origin, site = _header(scope, b"origin"), _header(scope, b"sec-fetch-site")
        if origin is not None and (b"*" in self._origins or origin in self._origins):
            return True
        if site is not None:
            return site in _OWN
        return origin is None or _is_same(origin, _header(scope, b"host") or b"")


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == wanted), None)


def _is_of_this_machine(scope: Scope) -> bool:
    """Whether the connection came to a loopback address; what is no address is a socket file, or a test's."""
    server = scope.get("server")
    return not server or _is_local(server[0])


@lru_cache(maxsize=256)
def _is_local(host: str) -> bool:
    address = _address_in(host)
    return address is None or address.is_loopback


@lru_cache(maxsize=256)
def _is_harmless_name(host: bytes) -> bool:
    """Names without a dot, and addresses, cannot be those of a page from elsewhere."""
    name = _name_in(host)
    return "." not in name or name.endswith(".localhost") or _address_in(name) is not None


def _address_in(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _name_in(host: bytes) -> str:
    """The header's value without the port, in lower case."""
    name = host.decode("latin-1").lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0].rstrip(".")


def _is_same(origin: bytes, host: bytes) -> bool:
    """Whether an origin is the server's, as the request calls it; a proxy may have changed the scheme."""
    scheme, _, place = origin.decode("latin-1").lower().partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme, "/")
    return place.removesuffix(default) == host.decode("latin-1").lower().removesuffix(default) != ""
