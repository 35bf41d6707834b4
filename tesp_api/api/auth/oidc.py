"""Access tokens of OpenID Connect issuers, as JSON Web Tokens.

What a token says of itself is believed only once its signature is known to be right; before that it names,
among the issuers and the keys that are known anyhow, the one to check it with. Source: RFC 7519, RFC 8725,
RFC 9068.
"""

import base64
import binascii
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning

from tesp_api.api.auth.authenticator import Proof, Scheme, SignIn
from tesp_api.api.auth.identity import EVERYTHING, Action, Identity
from tesp_api.api.auth.issuer_keys import IssuerKeys
from tesp_api.errors import NotAuthenticated
from tesp_api.settings_auth import IssuerSettings
from tesp_api.tes.times import now

# The name is: what it stands for is not, and issuers use it.
warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)

TOKEN_MAX_BYTES = 16 * 1024
MOST_GROUPS = 32
"""Of one user; each makes lists longer to find. The first in the order of their names count."""

_TEXT_MAX_LENGTH = 255
_LATEST = 100e9  # in the year 5138: later ones are as good as never

Json = dict[str, Any]


class OidcAuthenticator:
    """An `Authenticator` of access tokens. `clock` decides which are too old or too new."""

    scheme: ClassVar[Scheme] = "bearer"

    def __init__(self, issuers: Mapping[str, IssuerSettings], *, clock: Callable[[], datetime] = now) -> None:
        self._issuers = issuers
        self._by_url = {issuer.url: (issuer, IssuerKeys(issuer)) for issuer in issuers.values()}
        self._clock = clock

    def takes(self, credentials: str) -> bool:
        return True

    def claimed(self, credentials: str) -> str:
        return ""  # signatures are not guessed at by name

    async def authenticate(self, credentials: str, *, place: str = "") -> Proof:
        header, claimed = _parts(credentials)
        issuer, keys = self._by_url.get(_text(claimed.get("iss")) or "", (None, None))
        if issuer is None or keys is None:
            raise NotAuthenticated("the token's issuer is not one whose tokens are taken here")
        algorithm = _check_header(header, issuer)
        key = await keys.find(header.get("kid"), algorithm)
        registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
        try:
            signed = jws.deserialize_compact(credentials, key, algorithms=[algorithm], registry=registry)
        except (JoseError, ValueError, TypeError):
            raise NotAuthenticated("the token's signature is wrong") from None
        claims = _object(signed.payload)
        try:
            ends_at = _check_claims(claims, issuer, self._clock().timestamp())
        except NotAuthenticated as error:  # the issuer has signed it: nobody has made it up
            raise NotAuthenticated(str(error), is_guess=False) from None
        return Proof(_identity(claims, issuer), ends_at)

    async def sign_ins(self) -> list[SignIn]:
        """For the issuers that have a client for the page."""
        found = []
        for name, issuer in self._issuers.items():
            if issuer.client_id is None:
                continue
            metadata = await self._by_url[issuer.url][1].metadata() or {}
            discovery = issuer.url.rstrip("/") + "/.well-known/openid-configuration"
            places = (_text(metadata.get(f"{kind}_endpoint")) for kind in ("authorization", "token"))
            found.append(SignIn(name, issuer.client_id, discovery, *places))
        return found


def _parts(token: str) -> tuple[Json, Json]:
    """Header and claims, not to be trusted yet."""
    if len(token) > TOKEN_MAX_BYTES:
        raise NotAuthenticated(f"the token is longer than {TOKEN_MAX_BYTES} bytes")
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        raise NotAuthenticated("the token is neither one of this server nor a signed JSON Web Token")
    header, claims = (_object(_decoded(part)) for part in parts[:2])
    return header, claims


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise NotAuthenticated("the token is not base64url") from None


def _object(data: bytes | None) -> Json:
    try:
        found = json.loads(data or b"")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NotAuthenticated("the token holds no JSON objects")
    return found


def _check_header(header: Json, issuer: IssuerSettings) -> str:
    """The algorithm; keys and addresses that a header brings along are not looked at."""
    algorithm = header.get("alg")
    if algorithm not in issuer.algorithms:
        raise NotAuthenticated("the token is not signed by one of the algorithms that are taken here")
    kind = header.get("typ", "JWT")
    taken = {one.lower().removeprefix("application/") for one in issuer.types}
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in taken:
        raise NotAuthenticated("the token is of another type than those that are taken here")
    if "crit" in header or "b64" in header:
        raise NotAuthenticated("the token asks for extensions that are not known here")
    if "kid" in header and _text(header["kid"]) is None:
        raise NotAuthenticated("the name of the token's key is none")
    return str(algorithm)


def _check_claims(claims: Json, issuer: IssuerSettings, moment: float) -> datetime:
    """Return when the token ends.

    Raises:
        NotAuthenticated: it is not good now, or not meant for this server, or no access token.
    """
    if claims.get("iss") != issuer.url:
        raise NotAuthenticated("the token's issuer is not one whose tokens are taken here")
    audience = claims.get("aud")
    if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
        raise NotAuthenticated("the token is not meant for this server (aud)")
    ends = _moment(claims, "exp")
    if ends is None:
        raise NotAuthenticated("the token has no end (exp)")
    if moment >= ends + issuer.leeway_s:
        raise NotAuthenticated("the token has expired")
    for name in ("nbf", "iat"):
        begins = _moment(claims, name)
        if begins is not None and moment < begins - issuer.leeway_s:
            raise NotAuthenticated(f"the token is not good yet ({name})")
    kind = claims.get("typ", "Bearer")  # Keycloak's claim, of which an access token has Bearer
    if not isinstance(kind, str) or kind.lower() != "bearer" or "at_hash" in claims:
        raise NotAuthenticated("the token is no access token")
    if "cnf" in claims:
        raise NotAuthenticated("the token is bound to a key, of which nobody has shown that they have it")
    if not _text(claims.get("sub")):
        raise NotAuthenticated("the token names nobody (sub)")
    return datetime.fromtimestamp(ends + issuer.leeway_s, UTC)


def _moment(claims: Json, name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    # NaN is in no range, and an integer may be too large to become a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LATEST < value < 1e300:
        raise NotAuthenticated(f"the token's {name} is no time")
    return float(min(value, _LATEST))


def _identity(claims: Json, issuer: IssuerSettings) -> Identity:
    groups = [
        f"{issuer.url}#{group}"
        for group in sorted(set(_texts(claims, issuer.groups_claim)))
        if any(fnmatchcase(group, pattern) for pattern in issuer.shared_groups)
    ]
    return Identity(
        issuer.url,
        claims["sub"],
        _text(claims.get(issuer.name_claim)) or "",
        tuple(groups[:MOST_GROUPS]),
        is_admin=not set(_texts(claims, issuer.admin_claim)).isdisjoint(issuer.admin_values),
        scopes=EVERYTHING if issuer.scope_prefix is None else _scopes(claims, issuer.scope_prefix),
    )


def _scopes(claims: Json, prefix: str) -> frozenset[Action]:
    given = claims.get("scope", claims.get("scp"))
    words = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
    return frozenset(action for action in Action if f"{prefix}{action}" in words)


def _texts(claims: Json, name: str | None) -> Iterable[str]:
    """The texts of a claim that may be one or a list; of `a.b` also those of `b` in `a`."""
    if name is None:
        return []
    value: Any = claims.get(name)
    if value is None:
        value = claims
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    listed = value if isinstance(value, list) else [value]
    return [text for one in listed if (text := _text(one))]


def _text(value: Any) -> str | None:
    """A text that can be stored and printed; None for anything else."""
    if isinstance(value, str) and len(value) <= _TEXT_MAX_LENGTH and value.isprintable():
        return value
    return None
