"""Tokens of an OpenID Connect issuer: who they are taken for, and every way in which they are no good."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey
from openapi_spec_validator import validate

from tesp_api.api.application import build_api
from tesp_api.api.auth.identity import EVERYTHING, Action, Identity
from tesp_api.api.auth.issuer_keys import RETRY_S, IssuerKeys
from tesp_api.api.auth.oidc import MOST_GROUPS, TOKEN_MAX_BYTES, OidcAuthenticator
from tesp_api.app import build_accounts, build_authenticators, build_store
from tesp_api.bell import Bell
from tesp_api.errors import AuthenticationBusy, NotAuthenticated
from tesp_api.settings import Settings
from tesp_api.settings_auth import IssuerSettings
from tesp_api.tes.times import now
from tests.integration.api.life import TES, connect
from tests.services.oidc_issuer import OidcIssuer, new_key


@pytest.fixture(scope="module")
def shared() -> Iterator[OidcIssuer]:
    with OidcIssuer() as running:
        yield running


@pytest.fixture
def issuer(shared: OidcIssuer) -> Iterator[OidcIssuer]:
    """The issuer, as good as new."""
    keys = dict(shared.keys)
    shared.asked.clear()
    yield shared
    shared.keys, shared.extra_keys, shared.metadata, shared.status, shared.body = keys, [], {}, 200, None


def authenticator(issuer: OidcIssuer, **more: Any) -> OidcAuthenticator:
    return OidcAuthenticator({"idp": IssuerSettings.model_validate(issuer.settings(**more))})


async def identity(issuer: OidcIssuer, token: str, **more: Any) -> Identity:
    return (await authenticator(issuer, **more).authenticate(token)).identity


async def refused(issuer: OidcIssuer, token: str, **more: Any) -> str:
    with pytest.raises(NotAuthenticated) as caught:
        await authenticator(issuer, **more).authenticate(token)
    return str(caught.value)


async def test_a_token_says_who_it_is(issuer: OidcIssuer) -> None:
    found = await identity(issuer, issuer.token())
    assert (found.issuer, found.subject, found.name) == (issuer.url, "f3b1-alice", "alice")
    assert found.owner == f"{issuer.url}#f3b1-alice"
    assert (found.groups, found.is_admin, found.scopes) == ((), False, EVERYTHING)
    assert len(issuer.asked) == 2


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [("RS256", "RSA"), ("PS256", "RSA"), ("ES256", "EC"), ("EdDSA", "OKP"), ("Ed25519", "OKP")],
)
async def test_every_algorithm_works_where_it_is_allowed(
    issuer: OidcIssuer, algorithm: str, kind: str
) -> None:
    issuer.keys["k2"] = new_key(kind)
    token = issuer.token(kid="k2", algorithm=algorithm)
    assert (await identity(issuer, token, algorithms=[algorithm])).subject == "f3b1-alice"
    other = "ES256" if algorithm != "ES256" else "RS256"
    assert "algorithms" in await refused(issuer, token, algorithms=[other])


def unsigned(issuer: OidcIssuer, claims: dict[str, Any] | None = None, **header: Any) -> str:
    parts = [{"typ": "JWT", "kid": "k1", **header}, claims or issuer.claims()]
    return ".".join(encoded(json.dumps(part).encode()) for part in parts) + "."


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def by_secret(issuer: OidcIssuer, secret: bytes) -> str:
    """Signed with a shared secret that everybody knows."""
    text = unsigned(issuer, alg="HS256").rstrip(".")
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"


def public_pem(issuer: OidcIssuer) -> bytes:
    return issuer.first_key.as_pem(private=False)


def swapped(issuer: OidcIssuer) -> str:
    """The claims of one token with the signature of another."""
    head, _, signature = issuer.token().split(".")
    return f"{head}.{encoded(json.dumps(issuer.claims(sub='root')).encode())}.{signature}"


def by_stranger(issuer: OidcIssuer, **header: Any) -> str:
    return issuer.token(key=RSAKey.generate_key(2048), **header)


def stranger_in_header(issuer: OidcIssuer) -> str:
    mine = RSAKey.generate_key(2048)
    return issuer.token(key=mine, jwk=mine.as_dict(private=False))


def of(**claims: Any) -> Callable[[OidcIssuer], str]:
    return lambda issuer: issuer.token(issuer.claims(**claims))


def headed(**header: Any) -> Callable[[OidcIssuer], str]:
    return lambda issuer: issuer.token(**header)


def at(**ages_s: float) -> Callable[[OidcIssuer], str]:
    return lambda issuer: issuer.token(
        issuer.claims(**{name: time.time() + age_s for name, age_s in ages_s.items()})
    )


FORGERIES: dict[str, Callable[[OidcIssuer], str]] = {
    "alg none, no signature": lambda issuer: unsigned(issuer, alg="none"),
    "alg None, no signature": lambda issuer: unsigned(issuer, alg="None"),
    "alg none, a signature": lambda issuer: unsigned(issuer, alg="none") + "AAAA",
    "alg RS256, no signature": lambda issuer: unsigned(issuer, alg="RS256"),
    "alg RS256, an empty-looking signature": lambda issuer: unsigned(issuer, alg="RS256") + "AA",
    "HS256 with the public key as PEM": lambda issuer: by_secret(issuer, public_pem(issuer)),
    "HS256 with the public key as PEM, without its end": lambda issuer: by_secret(
        issuer, public_pem(issuer).strip()
    ),
    "HS256 with the public key as DER": lambda issuer: by_secret(
        issuer, issuer.first_key.as_der(private=False)
    ),
    "HS256 with the public key as JWK": lambda issuer: by_secret(
        issuer, json.dumps(issuer.keys["k1"].as_dict(private=False)).encode()
    ),
    "HS256 with the modulus": lambda issuer: by_secret(
        issuer, str(issuer.keys["k1"].as_dict(private=False)["n"]).encode()
    ),
    "HS256 with nothing": lambda issuer: by_secret(issuer, b""),
    "an algorithm that is not allowed": headed(algorithm="RS512"),
    "no algorithm": lambda issuer: unsigned(issuer) + "AAAA",
    "an algorithm that is a list": lambda issuer: unsigned(issuer, alg=["RS256"]) + "AAAA",
    "another's key, our kid": by_stranger,
    "another's key in the header": stranger_in_header,
    "another's key behind jku": lambda issuer: by_stranger(issuer, jku="http://127.0.0.1:9/keys"),
    "another's key behind x5u": lambda issuer: by_stranger(issuer, x5u="http://127.0.0.1:9/cert"),
    "an unknown kid": lambda issuer: by_stranger(issuer, kid="k9"),
    "a kid that is a path": lambda issuer: by_stranger(issuer, kid="../../../dev/null"),
    "a kid that is SQL": lambda issuer: by_stranger(issuer, kid="x' UNION SELECT 'key"),
    "a kid that is an object": lambda issuer: unsigned(issuer, alg="RS256", kid={"$ne": ""}) + "AAAA",
    "a kid that is null": lambda issuer: unsigned(issuer, alg="RS256", kid=None) + "AAAA",
    "a kid with a line break": lambda issuer: by_stranger(issuer, kid="k1\n"),
    "the claims of another token": swapped,
    "a signature that is cut": lambda issuer: issuer.token()[:-8],
    "the issuer's name with a slash": lambda issuer: issuer.token(issuer.claims(iss=issuer.url + "/")),
    "another issuer": of(iss="https://idp.example.com"),
    "an issuer that would be asked": of(iss="http://127.0.0.1:9"),
    "an issuer that is a list": lambda issuer: issuer.token(issuer.claims(iss=[issuer.url])),
    "no issuer": of(iss=None),
    "another audience": of(aud="other"),
    "other audiences": of(aud=["other", "tesp2"]),
    "an audience that contains ours": of(aud="tesp other"),
    "an audience that is an object": of(aud={"tesp": 1}),
    "no audience": of(aud=None),
    "expired": at(exp=-31),
    "expired long ago": of(exp=0),
    "no end": of(exp=None),
    "an end that is a text": of(exp="9999999999"),
    "an end that is true": of(exp=True),
    "an end that is infinite": of(exp=float("inf")),
    "an end that is no number": of(exp=float("nan")),
    "an end beyond floats": of(exp=10**400),
    "not yet": at(nbf=60),
    "from the future": at(iat=60),
    "a beginning that is a text": of(nbf="x"),
    "no subject": of(sub=None),
    "an empty subject": of(sub=""),
    "a subject that is a number": of(sub=7),
    "a subject with a line break": of(sub="alice\nroot"),
    "a subject with half a character": of(sub="\ud800"),
    "a subject without end": of(sub="x" * 300),
    "an ID token, by its hash": of(at_hash="x"),
    "an ID token, by Keycloak's claim": of(typ="ID"),
    "a refresh token": of(typ="Refresh"),
    "bound to a key": of(cnf={"jkt": "x"}),
    "a logout token": headed(typ="logout+jwt"),
    "a proof of possession": headed(typ="dpop+jwt"),
    "a type that is a list": lambda issuer: unsigned(issuer, alg="RS256", typ=["JWT"]) + "AAAA",
    "an extension that must be known": lambda issuer: unsigned(issuer, alg="RS256", crit=["x"]) + "AAAA",
    "a payload that is not encoded": lambda issuer: unsigned(issuer, alg="RS256", b64=False) + "AAAA",
    "too long": of(more="x" * TOKEN_MAX_BYTES),
    "huge": lambda _: "a" * 1_000_000,
    "dots": lambda _: "." * 10_000,
    "deep": lambda _: f"{encoded(b'[' * 9000)}.{encoded(b'[' * 2000)}.AA",
    "encrypted": lambda _: "e30.e30.e30.e30.e30",
    "no JSON": lambda _: "bm8.bm8.bm8",
    "lists": lambda _: "W10.W10.W10",
    "not base64url": lambda _: "e30!.e30.e30",
    "plus for minus": lambda issuer: issuer.token().replace("-", "+").replace("_", "/") + "+/",
    "nothing": lambda _: "",
    "a space at the end of the head": lambda issuer: issuer.token().replace(".", " .", 1),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_what_is_forged_is_refused(issuer: OidcIssuer, name: str) -> None:
    token = FORGERIES[name](issuer)
    said = await refused(issuer, token)
    assert len(said) < 200 and (len(token) < 20 or token not in said)
    assert all(path.startswith("/realms/tesp") for path in issuer.asked)
    assert (await identity(issuer, issuer.token())).subject == "f3b1-alice"


def test_there_are_many() -> None:
    assert len(FORGERIES) >= 60


@pytest.mark.parametrize(
    "good",
    [
        *(at(exp=-20), at(nbf=20), at(iat=20), of(nbf=None, iat=None), of(aud="tesp"), of(typ="Bearer")),
        *(headed(typ="at+jwt"), headed(typ="application/at+JWT"), headed(typ="jwt"), headed(typ=None)),
        *(
            headed(kid="k1", custom="x"),
            of(exp=10**12),
            at(exp=0.5),
            of(more="x" * 8000),
            headed(jku="http://x"),
        ),
    ],
)
async def test_what_is_within_the_rules_is_taken(
    issuer: OidcIssuer, good: Callable[[OidcIssuer], str]
) -> None:
    assert (await identity(issuer, good(issuer))).subject == "f3b1-alice"


async def test_a_token_ends_with_its_leeway(issuer: OidcIssuer) -> None:
    claims = issuer.claims()
    proof = await authenticator(issuer, leeway_s=10).authenticate(issuer.token(claims))
    assert proof.ends_at is not None
    assert proof.ends_at.timestamp() == claims["exp"] + 10
    ends = claims["exp"]
    for clock, is_good in ((ends + 9.5, True), (ends + 10.5, False)):
        one = OidcAuthenticator(
            {"idp": IssuerSettings.model_validate(issuer.settings(leeway_s=10))},
            clock=lambda clock=clock: now() + timedelta(seconds=clock - time.time()),  # type: ignore[misc]
        )
        if is_good:
            await one.authenticate(issuer.token(claims))
        else:
            with pytest.raises(NotAuthenticated):
                await one.authenticate(issuer.token(claims))


async def test_types_may_be_narrowed(issuer: OidcIssuer) -> None:
    await identity(issuer, issuer.token(typ="at+jwt"), types=["at+jwt"])
    for header in ({"typ": "JWT"}, {"typ": None}):
        assert "type" in await refused(issuer, issuer.token(**header), types=["at+jwt"])


GROUPS = ["/lab-a", "/lab-b", "/all", "/lab-a", 7, "", "x\ny", "\ud800", None]


async def test_groups_and_admins_come_from_the_claims_that_the_settings_name(issuer: OidcIssuer) -> None:
    token = issuer.token(
        issuer.claims(
            **{"groups": GROUPS, "https://lab.org/groups": "one"}, realm_access={"roles": ["x", "tesp-admin"]}
        )
    )
    by_default = await identity(issuer, token)
    assert (by_default.groups, by_default.is_admin) == ((), False)
    named = await identity(issuer, token, groups_claim="groups", shared_groups=["/lab-*"])
    assert named.groups == (f"{issuer.url}#/lab-a", f"{issuer.url}#/lab-b")
    flat = await identity(issuer, token, groups_claim="https://lab.org/groups")
    assert flat.groups == (f"{issuer.url}#one",)
    for claim, value, is_admin in (
        ("realm_access.roles", "tesp-admin", True),
        ("realm_access.roles", "tesp", False),
        ("realm_access", "tesp-admin", False),
        ("roles", "tesp-admin", False),
        ("sub.roles", "tesp-admin", False),
    ):
        found = await identity(issuer, token, admin_claim=claim, admin_values=[value])
        assert found.is_admin is is_admin, claim
    many = issuer.token(issuer.claims(groups=[f"g{number:02}" for number in range(99)]))
    assert len((await identity(issuer, many, groups_claim="groups")).groups) == MOST_GROUPS


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "openid tesp:read tesp:submit"}, {Action.READ, Action.SUBMIT}),
        ({"scp": ["tesp:cancel", 7]}, {Action.CANCEL}),
        ({"scope": "read xtesp:read tesp:everything"}, set()),
        ({"scope": {"tesp:read": 1}}, set()),
        ({}, set()),
    ],
)
async def test_scopes_count_where_the_settings_say_so(
    issuer: OidcIssuer, claims: dict[str, Any], scopes: set[Action]
) -> None:
    token = issuer.token(issuer.claims(**claims))
    assert (await identity(issuer, token)).scopes == EVERYTHING
    assert (await identity(issuer, token, scope_prefix="tesp:")).scopes == scopes


class Clock:
    def __init__(self) -> None:
        self.moment = 1000.0

    def __call__(self) -> float:
        return self.moment


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(issuer: OidcIssuer, clock: Clock) -> IssuerKeys:
    return IssuerKeys(IssuerSettings.model_validate(issuer.settings()), clock=clock)


async def test_a_new_key_is_found_and_an_unknown_one_is_asked_for_seldom(
    issuer: OidcIssuer, keys: IssuerKeys, clock: Clock
) -> None:
    await keys.find("k1", "RS256")
    issuer.keys = {"k2": new_key("RSA")}
    for _ in range(20):
        with pytest.raises(NotAuthenticated):
            await keys.find("k2", "RS256")
    assert len(issuer.asked) == 2
    clock.moment += RETRY_S
    await asyncio.gather(*(keys.find("k2", "RS256") for _ in range(20)))
    assert len(issuer.asked) == 4
    with pytest.raises(NotAuthenticated):
        await keys.find("k1", "RS256")
    assert len(issuer.asked) == 4


async def test_keys_outlive_an_outage_for_the_stated_time(
    issuer: OidcIssuer, keys: IssuerKeys, clock: Clock
) -> None:
    await keys.find("k1", "RS256")
    issuer.status = 500
    clock.moment += 86399
    for _ in range(5):
        await keys.find("k1", "RS256")
    await until(lambda: len(issuer.asked) == 3)
    clock.moment += 2
    with pytest.raises(AuthenticationBusy):
        await keys.find("k1", "RS256")
    issuer.status = 200
    with pytest.raises(AuthenticationBusy):  # not asked again at once
        await keys.find("k1", "RS256")
    clock.moment += RETRY_S
    await keys.find("k1", "RS256")


async def test_keys_are_fetched_anew_now_and_then_without_waiting(
    issuer: OidcIssuer, keys: IssuerKeys, clock: Clock
) -> None:
    await keys.find("k1", "RS256")
    clock.moment += 3601
    await keys.find("k1", "RS256")
    await until(lambda: len(issuer.asked) == 4)


async def test_a_try_that_ended_just_now_is_not_waited_for(
    issuer: OidcIssuer, keys: IssuerKeys, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails() -> None:
        """At once."""

    with monkeypatch.context() as patched:
        patched.setattr(keys, "_try", fails)
        keys._begin()
        await asyncio.sleep(0)  # it has ended, and nothing else has run since
    clock.moment += RETRY_S
    await keys.find("k1", "RS256")


async def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_an_issuer_that_was_never_there_is_503_and_no_way_in(
    tmp_path: Path, issuer: OidcIssuer
) -> None:
    issuer.status = 503
    async with connected(tmp_path, issuer) as client:
        answer = await client.get(f"{TES}/tasks", headers={"Authorization": f"Bearer {issuer.token()}"})
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        answer = await client.get(f"{TES}/tasks", headers={"Authorization": f"Bearer {issuer.token()}x.y"})
        assert answer.status_code == 401


WRONG_ANSWERS: dict[str, dict[str, Any]] = {
    "of another issuer": {"metadata": {"issuer": "https://idp.example.com"}},
    "keys elsewhere": {"metadata": {"jwks_uri": "file:///etc/passwd"}},
    "no keys": {"metadata": {"jwks_uri": None}},
    "a redirect": {"status": 302},
    "no JSON": {"body": b"<html>"},
    "a list": {"body": b"[]"},
    "keys that are no list": {"body": b'{"keys": {}}'},
    "too deep": {"body": b"[" * 200_000},
    "without end": {"body": b" " * (1024**2 + 1)},
    "keys without any": {"body": b'{"keys": []}'},
    "keys of no use": {"body": b'{"keys": [7, null, {}, {"kty": "RSA"}, {"kty": ["RSA"]}]}'},
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
async def test_wrong_answers_of_the_issuer_give_no_keys(
    issuer: OidcIssuer, keys: IssuerKeys, name: str
) -> None:
    for field, value in WRONG_ANSWERS[name].items():
        setattr(issuer, field, value)
    with pytest.raises((AuthenticationBusy, NotAuthenticated)):
        await keys.find("k1", "RS256")


async def test_keys_that_are_not_for_this_are_passed_over(issuer: OidcIssuer, keys: IssuerKeys) -> None:
    secret = OctKey.import_key(b"secret-secret-secret-secret-secret")
    weak, private, elliptic = (
        RSAKey.generate_key(1024),
        RSAKey.generate_key(2048),
        ECKey.generate_key("P-384"),
    )
    issuer.extra_keys = [
        secret.as_dict(private=True) | {"kid": "secret"},
        weak.as_dict(private=False) | {"kid": "weak"},
        private.as_dict(private=True) | {"kid": "private"},
        elliptic.as_dict(private=False) | {"kid": "other curve"},
        private.as_dict(private=False) | {"kid": "encrypts", "use": "enc"},
        private.as_dict(private=False) | {"kid": "other algorithm", "alg": "RS512"},
        {"kty": "AKP", "kid": "of tomorrow"},
    ]
    for kid in ("secret", "weak", "private", "other curve", "encrypts", "other algorithm", "of tomorrow"):
        for algorithm in ("RS256", "HS256", "ES256"):
            with pytest.raises(NotAuthenticated):
                await keys.find(kid, algorithm)
    assert (await keys.find(None, "RS256")) is not None  # the only one that fits
    issuer.keys["k2"] = new_key("RSA")


async def test_two_issuers_are_kept_apart(issuer: OidcIssuer) -> None:
    with OidcIssuer() as other:
        both = OidcAuthenticator(
            {
                "a": IssuerSettings.model_validate(issuer.settings(groups_claim="groups")),
                "b": IssuerSettings.model_validate(other.settings(groups_claim="groups")),
            }
        )
        of_a = (await both.authenticate(issuer.token(issuer.claims(groups=["lab"])))).identity
        of_b = (await both.authenticate(other.token(other.claims(groups=["lab"])))).identity
        assert of_a.owner != of_b.owner
        assert set(of_a.groups).isdisjoint(of_b.groups)
        with pytest.raises(NotAuthenticated):
            await both.authenticate(other.token(issuer.claims()))


def connected(folder: Path, issuer: OidcIssuer, **more: Any) -> Any:
    settings = Settings.model_validate(
        {
            "data_dir": str(folder),
            "auth": {"modes": ["oidc", "token", "basic"]},
            "issuers": {"idp": issuer.settings(**more)},
        }
    )
    store = build_store(settings)
    ways = build_authenticators(settings, build_accounts(settings))
    return connect(build_api(store, Bell(), settings, {}, authenticators=ways))


async def test_the_page_can_log_in(tmp_path: Path, issuer: OidcIssuer) -> None:
    async with connected(tmp_path, issuer, client_id="tesp-</script>docs") as client:
        document = (await client.get("/openapi.json")).json()
        validate(document)
        ways = document["components"]["securitySchemes"]
        assert set(ways) == {"bearer", "basic", "idp"}
        flow = ways["idp"]["flows"]["authorizationCode"]
        assert flow["authorizationUrl"] == f"{issuer.url}/protocol/openid-connect/auth"
        assert flow["tokenUrl"] == f"{issuer.url}/protocol/openid-connect/token"
        assert {"401", "403"} <= document["paths"][f"{TES}/tasks"]["get"]["responses"].keys()
        assert document["paths"][f"{TES}/service-info"]["get"]["security"] == []
        assert "Nobody has to log in" not in document["info"]["description"]
        page = (await client.get("/docs")).text
        assert "tesp-\\u003c/script>docs" in page and "usePkceWithAuthorizationCodeGrant" in page
        assert (await client.get("/docs/oauth2-redirect?code=x")).status_code == 200


async def test_the_page_works_while_the_issuer_is_away(tmp_path: Path, issuer: OidcIssuer) -> None:
    issuer.status = 500
    async with connected(tmp_path, issuer, client_id="tesp-docs") as client:
        document = (await client.get("/openapi.json")).json()
        found = document["components"]["securitySchemes"]["idp"]["openIdConnectUrl"]
        assert found == f"{issuer.url}/.well-known/openid-configuration"
        assert (await client.get("/docs")).status_code == 200
