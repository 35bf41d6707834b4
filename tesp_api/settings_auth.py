"""The settings that say who may use the server, and what is written down about it."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from tesp_api.settings_base import Seconds, Table

HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+$")]

Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
]
"""Of signatures with a private key alone: whoever can check one of these cannot make one."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class AuthSettings(Table):
    """Who may use the server, and how they show who they are."""

    modes: tuple[Literal["none", "basic", "token", "oidc"], ...] = Field(
        ("none",), min_length=1, description="none: nobody logs in; or one or more of basic, token, oidc"
    )
    open_to_network: bool = Field(
        False, description="none: serve other machines too; whoever reaches the port runs programs here"
    )
    hosts: tuple[HostName, ...] = Field(
        (), description="none: the names by which it is called, if they have a dot: tesp.lab.example.org"
    )
    admins: tuple[str, ...] = Field(
        (), description="who sees everybody's tasks: names of users, ISSUER#SUBJECT of others"
    )
    revoked_within_s: Seconds = Field(
        5.0, description="a removed user, an old password, a revoked token is refused after so long at most"
    )

    @field_validator("modes")
    @classmethod
    def _none_stands_alone(cls, modes: tuple[str, ...]) -> tuple[str, ...]:
        if "none" in modes and len(modes) > 1:
            raise ValueError('"none" stands alone: with any other mode, everybody has to log in')
        return modes

    @property
    def is_open(self) -> bool:
        """Whether nobody logs in."""
        return self.modes == ("none",)

    @property
    def has_accounts(self) -> bool:
        """Whether users or tokens of the server's own are asked for."""
        return bool({"basic", "token"} & set(self.modes))


class IssuerSettings(Table):
    """An OpenID Connect issuer, whose access tokens are taken if they are meant for this server."""

    url: str = Field(
        pattern=r"^https?://[^/?#@\s]+(/[^?#@\s]*)?$", description="as it stands in its tokens, to the letter"
    )
    audience: str = Field(min_length=1, description="a token must name it in `aud`")
    algorithms: tuple[Algorithm, ...] = Field(
        ("RS256", "PS256", "ES256", "EdDSA"),
        min_length=1,
        description="a token must be signed by one of them",
    )
    types: tuple[str, ...] = Field(
        ("JWT", "at+jwt"), min_length=1, description="a token's header `typ`; one without it counts as JWT"
    )
    name_claim: str = Field("preferred_username", description="what people are called; proves nothing")
    groups_claim: str | None = Field(None, description="the groups that share tasks; none, unless set")
    shared_groups: tuple[str, ...] = Field(("*",), description="which of them, with wildcards")
    admin_claim: str | None = Field(
        None, description='who has one of `admin_values` here is an admin: "roles"'
    )
    admin_values: tuple[str, ...] = Field((), description="see `admin_claim`")
    scope_prefix: str | None = Field(
        None, description="a token is good for what its scopes say: PREFIX + read, ...; for all, unless set"
    )
    leeway_s: float = Field(30.0, ge=0, le=300, description="by which clocks may differ")
    keys_fresh_s: Seconds = Field(3600.0, description="its keys are fetched again after so long")
    keys_good_s: Seconds = Field(86400.0, description="... and used so long if that fails")
    ca: Path | None = Field(None, description="PEM: the authority of its certificate")
    allow_http: bool = Field(False, description="its url may be http:// beyond loopback")
    client_id: str | None = Field(None, description="by which the dashboard and the docs log in (with PKCE)")

    @model_validator(mode="after")
    def _fits(self) -> "IssuerSettings":
        host = urlsplit(self.url).hostname or ""
        if self.url.startswith("http://") and not self.allow_http and host not in _LOOPBACK:
            raise ValueError("url must begin with https://, or set allow_http = true")
        if (self.admin_claim is None) != (not self.admin_values):
            raise ValueError("admin_claim and admin_values belong together")
        return self


class AuditSettings(Table):
    """What is written down about who did what."""

    enabled: bool = Field(True, description="requests that may change something, and refused ones, are noted")
    reads: bool = Field(False, description="... and all others")
    file: Path | None = Field(None, description="as JSON lines; audit.log in the data folder, unless set")
