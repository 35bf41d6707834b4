"""Sends messages. Where tasks name the URL, only to where transfers may go (`worker.rules`).

A name is resolved here, and connected to at an address that was looked at, so a name server that answers
differently the next time gains nothing. Redirects are not followed, and proxies not asked.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from tesp_api.settings import Settings
from tesp_api.storage.url_rules import worker_rules
from tesp_api.webhooks.answer import Answer
from tesp_api.worker.rules import Rules

_LOOKUPS_AT_ONCE = {True: 64, False: 8}
"""By whether tasks name the URL: their names may be ones that nobody answers for."""
_GONE = 410


class AddressRefused(OSError):
    """The rules allow no address of a name."""


class Sender:
    """Sends messages, many at one time. `open` and `aclose` belong to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._timeout_s = settings.webhooks.timeout_s
        # What the operator trusts with the requests of S3 is not for what tasks name.
        self._rules = worker_rules(settings)._replace(trusted=())
        self._pools: list[ThreadPoolExecutor] = []
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def open(self) -> None:
        """Must be called before anything is sent."""
        # Lookups may hang: other parts of the server must not wait for their threads.
        for is_guarded, lookups in _LOOKUPS_AT_ONCE.items():
            pool = ThreadPoolExecutor(lookups, "webhook-lookup")
            self._pools.append(pool)
            resolver = _Resolver(pool, self._rules if is_guarded else None)
            self._sessions[is_guarded] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                trust_env=False,
            )

    async def aclose(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)
        self._pools.clear()

    async def send(self, url: str, headers: dict[str, str], body: bytes, *, is_guarded: bool) -> Answer:
        """Send one message; does not raise for anything that the receiver, or the way there, does."""
        try:
            target = yarl.URL(url)
            if is_guarded and (fault := self._fault(target)):
                return Answer(False, f"refused: {fault}")
            async with self._sessions[is_guarded].post(
                target, data=body, headers=headers, allow_redirects=False
            ) as response:
                taken = 200 <= response.status < 300
                return Answer(taken, f"status {response.status}", response.status == _GONE)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(False, self._why(error))

    def _fault(self, target: yarl.URL) -> str:
        return self._rules.scheme_fault(target.scheme) or self._rules.host_fault(target.host or "")

    def _why(self, error: Exception) -> str:
        """Of errors only what tells nothing of the URL but its host: the rest of it may be a secret."""
        cause = getattr(error, "os_error", None)
        if isinstance(cause, AddressRefused):
            return f"refused: {cause}"
        if isinstance(error, TimeoutError):
            return f"no answer within {self._timeout_s:g} s"
        for kind, said in _MEANINGS.items():
            if isinstance(error, kind):
                return said
        return f"cannot be reached ({type(error).__name__})"


_MEANINGS: dict[type[Exception], str] = {
    aiohttp.ClientConnectorCertificateError: "its certificate is none that is trusted",
    aiohttp.ClientConnectorSSLError: "no TLS connection can be made",
    aiohttp.ClientConnectorDNSError: "its name cannot be resolved",
    aiohttp.ClientConnectorError: "cannot be connected to",
    aiohttp.ServerDisconnectedError: "closed the connection without an answer",
    aiohttp.ClientConnectionError: "the connection broke off",
    aiohttp.ClientResponseError: "what it answers is not HTTP",
    aiohttp.InvalidURL: "its URL cannot be used",
}
"""By the first that fits."""


class _Resolver(AbstractResolver):
    """Finds the addresses of a name that the rules allow; without rules, all."""

    def __init__(self, pool: ThreadPoolExecutor, rules: Rules | None) -> None:
        self._pool = pool
        self._rules = rules

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        look = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM, family=family)
        found = await asyncio.get_running_loop().run_in_executor(self._pool, look)
        allowed, fault = list[ResolveResult](), "it has no address"
        for kind, _, protocol, _, address in found:
            refused = self._rules.address_fault(str(address[0])) if self._rules else ""
            if refused:
                fault = refused
                continue
            allowed.append(
                ResolveResult(
                    hostname=host,
                    host=str(address[0]),
                    port=int(address[1]),
                    family=kind,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        if not allowed:
            raise AddressRefused(fault)
        return allowed

    async def close(self) -> None:
        """The threads belong to the sender."""
