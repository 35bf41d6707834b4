"""An OpenID Connect issuer on loopback: discovery, keys that can be changed, tokens of every kind, logins of
browsers by code and PKCE, outages."""

import base64
import hashlib
import json
import threading
import time
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA", "Ed25519", "HS256", "none", "RS512"]


class OidcIssuer:
    """`with OidcIssuer() as issuer:`; `issuer.token()` is a good one for the audience `tesp`."""

    def __init__(self) -> None:
        self.first_key = RSAKey.generate_key(2048)
        self.keys: dict[str, Key] = {"k1": self.first_key}
        self.extra_keys: list[Any] = []
        """Further entries of the key set, as they are."""
        self.metadata: dict[str, Any] = {}
        """What the discovery document says otherwise."""
        self.status = 200
        self.body: bytes | None = None
        """What is answered instead of the key set."""
        self.asked: list[str] = []
        self.codes: dict[str, dict[str, str]] = {}
        """What was asked for with the codes that have not been changed for tokens."""
        self.refreshed = 0
        """How often a token was renewed."""
        self.expires_in_s = 300
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/realms/tesp"

    def settings(self, **more: Any) -> dict[str, Any]:
        """The table of the settings."""
        return {"url": self.url, "audience": "tesp", **more}

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a good token; a change to None leaves one out."""
        moment = int(time.time())
        claims = {
            "iss": self.url,
            "aud": ["tesp", "account"],
            "sub": "f3b1-alice",
            "exp": moment + 300,
            "iat": moment,
            "preferred_username": "alice",
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self,
        claims: Mapping[str, Any] | None = None,
        *,
        kid: str = "k1",
        key: Any = None,
        algorithm: str = "RS256",
        **header: Any,
    ) -> str:
        """A signed token; a header's field that is None is left out."""
        fields = {"alg": algorithm, "kid": kid, "typ": "JWT", **header}
        return jws.serialize_compact(
            {name: value for name, value in fields.items() if value is not None},
            json.dumps(self.claims() if claims is None else claims),
            key or self.keys[kid],
            registry=jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False),
        )

    def key_set(self) -> bytes:
        """The public keys, as they are served."""
        listed = [key.as_dict(private=False) | {"kid": kid, "use": "sig"} for kid, key in self.keys.items()]
        return json.dumps({"keys": [*self.extra_keys, *listed]}).encode()

    def document(self) -> bytes:
        """What the issuer says of itself."""
        place = f"{self.url}/protocol/openid-connect"
        return json.dumps(
            {
                "issuer": self.url,
                "jwks_uri": f"{place}/certs",
                "authorization_endpoint": f"{place}/auth",
                "token_endpoint": f"{place}/token",
                **self.metadata,
            }
        ).encode()

    def agree(self, asked: dict[str, str]) -> str:
        """Where the browser goes from the login page, of somebody who agrees at once."""
        code = uuid.uuid4().hex
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def tokens(self, form: Mapping[str, str]) -> dict[str, Any] | None:
        """What a code, with the verifier of its challenge, or a refresh token is changed for."""
        if form["grant_type"] == "refresh_token":
            self.refreshed += 1
            return self._answer() if form["refresh_token"] == "renew-me" else None
        asked = self.codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            asked is None
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != form["redirect_uri"]
        ):
            return None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        token = {"access_token": self.token(), "refresh_token": "renew-me", "token_type": "Bearer"}
        return {**token, "expires_in": self.expires_in_s}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                place = urlsplit(self.path)
                if place.path.endswith("/auth"):
                    self.send_response(302)
                    self.send_header("Location", issuer.agree(dict(parse_qsl(place.query))))
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                is_document = self.path.endswith("/.well-known/openid-configuration")
                body = issuer.document() if is_document else issuer.body or issuer.key_set()
                self.send_response(issuer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                issuer.asked.append(self.path)
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                answer = issuer.tokens(dict(parse_qsl(form)))
                body = json.dumps(answer or {"error": "invalid_grant"}).encode()
                self.send_response(200 if answer else 400)
                self.send_header("Content-Type", "application/json")
                self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin", "*"))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        return Handler

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def new_key(kind: str) -> Key:
    """A private key: RSA, EC (P-256) or OKP (Ed25519)."""
    if kind == "EC":
        return ECKey.generate_key("P-256")
    return OKPKey.generate_key("Ed25519") if kind == "OKP" else RSAKey.generate_key(2048)
