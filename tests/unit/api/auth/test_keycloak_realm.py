"""The realm and the settings of docker/keycloak fit each other: what tokens say is what is looked for.

Keycloak itself is not run: its mappers put the claims into tokens as their configuration says.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tesp_api.api.auth.oidc import OidcAuthenticator
from tesp_api.settings import load_settings
from tesp_api.settings_auth import IssuerSettings
from tests.services.oidc_issuer import OidcIssuer

FOLDER = Path(__file__).parents[4] / "docker/keycloak"
REALM: dict[str, Any] = json.loads((FOLDER / "tesp-realm.json").read_text())
[SCOPE] = REALM["clientScopes"]
MAPPERS = {mapper["protocolMapper"]: mapper["config"] for mapper in SCOPE["protocolMappers"]}


def claims_of(user: dict[str, Any]) -> dict[str, Any]:
    """What the realm's mappers put into an access token."""
    of_kind: dict[str, Callable[[dict[str, str]], dict[str, Any]]] = {
        "oidc-audience-mapper": lambda config: {"aud": config["included.custom.audience"]},
        "oidc-sub-mapper": lambda _: {"sub": user["id"]},
        "oidc-usermodel-attribute-mapper": lambda config: {
            config["claim.name"]: user[config["user.attribute"]]
        },
        "oidc-group-membership-mapper": lambda config: {
            config["claim.name"]: [
                f"/{group}" if config["full.path"] == "true" else group for group in user["groups"]
            ]
        },
        "oidc-usermodel-realm-role-mapper": lambda config: {config["claim.name"]: user["roles"]},
    }
    claims: dict[str, Any] = {"typ": "Bearer"}
    for kind, config in MAPPERS.items():
        assert config["access.token.claim"] == "true"
        claims |= of_kind[kind](config)
    return claims


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> IssuerSettings:
    monkeypatch.setenv("TESP_API_SETTINGS", str(FOLDER / "settings.toml"))
    return load_settings().issuers["keycloak"]


@pytest.fixture
def issuer() -> Iterator[OidcIssuer]:
    with OidcIssuer() as running:
        yield running


async def test_a_token_of_the_realm_is_taken_for_what_it_says(
    settings: IssuerSettings, issuer: OidcIssuer
) -> None:
    here = settings.model_copy(update={"url": issuer.url})
    user = {"id": "f3b1", "username": "alice", "groups": ["lab-a", "staff"], "roles": ["offline_access"]}
    token = issuer.token(issuer.claims(**claims_of(user)))
    found = (await OidcAuthenticator({"keycloak": here}).authenticate(token)).identity
    assert (found.subject, found.name, found.is_admin) == ("f3b1", "alice", False)
    assert found.groups == (f"{issuer.url}#/lab-a",)
    admin = issuer.token(issuer.claims(**claims_of(user | {"roles": ["tesp-admin"]})))
    assert (await OidcAuthenticator({"keycloak": here}).authenticate(admin)).identity.is_admin


def test_the_realm_is_the_one_of_the_settings(settings: IssuerSettings) -> None:
    assert settings.url.endswith(f"/realms/{REALM['realm']}")
    assert settings.algorithms == (REALM["defaultSignatureAlgorithm"],)
    assert {role["name"] for role in REALM["roles"]["realm"]} == set(settings.admin_values)
    assert settings.url.split("/realms")[0].rpartition(":")[2] in (FOLDER / "docker-compose.yaml").read_text()


def test_clients_are_public_need_pkce_and_have_the_scope(settings: IssuerSettings) -> None:
    clients = {client["clientId"]: client for client in REALM["clients"]}
    page = clients[settings.client_id or ""]
    assert page["attributes"]["pkce.code.challenge.method"] == "S256"
    places = [uri.removeprefix("http://127.0.0.1:8080") for uri in page["redirectUris"]]
    assert places == ["/docs/oauth2-redirect", "/ui/"]
    for client in clients.values():
        assert client["publicClient"] and client["defaultClientScopes"] == [SCOPE["name"]]
        assert not client["implicitFlowEnabled"] and not client["directAccessGrantsEnabled"]
        assert "*" not in json.dumps(client)


def test_no_secret_is_in_the_folder() -> None:
    text = (FOLDER / "tesp-realm.json").read_text().lower()
    assert "password" not in text and "secret" not in text and '"users"' not in text
