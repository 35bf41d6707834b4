"""The keys of one OpenID Connect issuer: fetched, kept, and changed when it changes them.

Only the settings say where to ask. Who sends tokens cannot make this server ask often: keys that nobody knows
lead to one question now and then, however many tokens name some.
"""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey

from tesp_api.errors import AuthenticationBusy, NotAuthenticated
from tesp_api.settings_auth import IssuerSettings

RETRY_S = 10.0
"""So long between two tries, be it that the last one failed or that a token names a key that is not there."""

_TIMEOUT_S = 5.0
_ANSWER_MAX_BYTES = 1024**2
_RSA_LEAST_BITS, _RSA_MOST_BITS = 2048, 16_384
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}

_log = logging.getLogger(__name__)

Json = dict[str, Any]


class IssuerKeys:
    """Finds the key that a token names. `clock` counts seconds."""

    def __init__(self, issuer: IssuerSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._keys: list[tuple[Json, Key]] = []
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._metadata: Json | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> Key:
        """The key for a token of that algorithm.

        Raises:
            NotAuthenticated: the issuer has none such.
            AuthenticationBusy: the issuer's keys are not known, or for too long.
        """
        if self._age() > self._issuer.keys_good_s:
            await self._fetch()
            if self._age() > self._issuer.keys_good_s:
                raise AuthenticationBusy(f"the issuer {self._issuer.url} does not tell its keys")
        elif self._age() > self._issuer.keys_fresh_s:
            self._begin()  # those that are there are good meanwhile
        found = self._match(kid, algorithm)
        if found is None:
            await self._fetch()
            found = self._match(kid, algorithm)
        if found is None:
            raise NotAuthenticated("the token is signed with a key that its issuer does not have")
        return found

    async def metadata(self) -> Json | None:
        """What the issuer says of itself; None if that is not known now."""
        if self._metadata is None:
            await self._fetch()
        return self._metadata

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._clock() - self._fetched_at

    def _match(self, kid: str | None, algorithm: str) -> Key | None:
        """Without a kid only where there is no choice."""
        fitting = [(data, key) for data, key in self._keys if _fits(data, key, algorithm)]
        if kid is not None:
            fitting = [(data, key) for data, key in fitting if data.get("kid") == kid]
        return fitting[0][1] if len(fitting) == 1 else None

    async def _fetch(self) -> None:
        """Fetch the keys, unless that was tried just now; those who come at once share one try."""
        self._begin()
        if self._fetching is not None and not self._fetching.done():
            await asyncio.shield(self._fetching)

    def _begin(self) -> None:
        if self._fetching is not None and not self._fetching.done():
            return
        if self._tried_at is not None and self._clock() - self._tried_at < RETRY_S:
            return
        self._tried_at = self._clock()
        self._fetching = asyncio.ensure_future(self._try())

    async def _try(self) -> None:
        try:
            async with asyncio.timeout(2 * _TIMEOUT_S):
                metadata, keys = await _ask(self._issuer)
        except (httpx.HTTPError, OSError, TimeoutError, ValueError) as error:
            _log.warning("the keys of the issuer %s cannot be fetched: %s", self._issuer.url, error)
            return
        self._metadata, self._keys, self._fetched_at = metadata, keys, self._clock()


async def _ask(issuer: IssuerSettings) -> tuple[Json, list[tuple[Json, Key]]]:
    """What the issuer says of itself, and its keys.

    Source: OpenID Connect Discovery 1.0, section 4.

    Raises:
        httpx.HTTPError, OSError, ValueError: it does not answer, or what it answers cannot be used.
    """
    metadata = await _get(issuer.url.rstrip("/") + "/.well-known/openid-configuration", issuer.ca)
    if metadata.get("issuer") != issuer.url:
        raise ValueError(f"it says that it is {str(metadata.get('issuer'))[:200]!r}")
    place = str(metadata.get("jwks_uri"))
    if not place.startswith(("https://",) if issuer.url.startswith("https://") else ("https://", "http://")):
        raise ValueError("its keys are not behind https://")
    listed = (await _get(place, issuer.ca)).get("keys")
    if not isinstance(listed, list):
        raise ValueError("it tells no list of keys")
    return metadata, [(data, key) for data in listed if (key := _key_of(data)) is not None]


async def _get(url: str, ca: Path | None) -> Json:
    trust = ssl.create_default_context(cafile=ca) if url.startswith("https://") else False
    async with (
        httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False, verify=trust) as http,
        http.stream("GET", url) as answer,
    ):
        if answer.status_code != 200:
            raise ValueError(f"{url} answers {answer.status_code}")
        body = b""
        async for part in answer.aiter_bytes():
            body += part
            if len(body) > _ANSWER_MAX_BYTES:
                raise ValueError(f"{url} answers more than {_ANSWER_MAX_BYTES} bytes")
    try:
        found = json.loads(body)
    except RecursionError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{url} answers no JSON object")
    return found


def _key_of(data: Any) -> Key | None:
    """A public key for signatures; None for anything else, which is passed over."""
    if not isinstance(data, dict) or data.get("kty") not in ("RSA", "EC", "OKP") or "d" in data:
        return None
    if data.get("use", "sig") != "sig":
        return None
    try:
        return JWKRegistry.import_key(data)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _fits(data: Json, key: Key, algorithm: str) -> bool:
    """Whether a token of that algorithm may be signed with the key, by what the issuer says of the key."""
    if data.get("alg", algorithm) != algorithm:
        return False
    if isinstance(key, RSAKey):
        size_bits = key.public_key.key_size
        return algorithm[:2] in ("RS", "PS") and _RSA_LEAST_BITS <= size_bits <= _RSA_MOST_BITS
    if isinstance(key, ECKey):
        return data.get("crv") == _CURVES.get(algorithm, "")
    return isinstance(key, OKPKey) and algorithm in ("EdDSA", "Ed25519") and data.get("crv") == "Ed25519"
