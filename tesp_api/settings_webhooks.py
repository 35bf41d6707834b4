"""The settings of webhooks: who is told of the states of tasks and runs, besides those whom tasks name."""

import re
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from tesp_api.settings_base import Seconds, Table
from tesp_api.tes.states import State
from tesp_api.tes.webhook_parameters import TELLABLE, secret_bytes, webhook_url_fault

TagFilter = Annotated[str, Field(pattern=r"^[^=]+(=.*)?$")]


class ReceiverSettings(Table):
    """One who is told. Like all settings, it holds for what is created from now on."""

    url: SecretStr = Field(description="https://... or http://...; shown nowhere but for its host")
    secret: SecretStr = Field(description="whsec_..., with which what is told is signed")
    states: tuple[State, ...] = Field((), description="of which it is told: of all, unless set")
    of: tuple[Literal["tasks", "runs"], ...] = Field(("tasks", "runs"), description="what it is told of")
    tags: tuple[TagFilter, ...] = Field(
        (), description='"key=value" or "key": only of what has all of these among its tags'
    )

    @field_validator("url")
    @classmethod
    def _can_be_told(cls, url: SecretStr) -> SecretStr:
        if fault := webhook_url_fault(url.get_secret_value()):
            raise ValueError(fault)
        return url

    @field_validator("states")
    @classmethod
    def _can_come(cls, states: tuple[State, ...]) -> tuple[State, ...]:
        for state in states:
            if state not in TELLABLE:
                raise ValueError(f"nothing is ever {state}: choose of {', '.join(TELLABLE)}")
        return states

    @field_validator("secret")
    @classmethod
    def _can_sign(cls, secret: SecretStr) -> SecretStr:
        secret_bytes(secret.get_secret_value())
        return secret


class WebhookSettings(Table):
    """How states are told by HTTP requests, and to whom."""

    per_task: bool = Field(
        True, description="whether a task may name a URL of its own (backend parameter webhook_url)"
    )
    server_url: str | None = Field(
        None, description="how receivers reach this server: https://tesp.example.org; links begin with it"
    )
    timeout_s: Seconds = Field(10.0, description="a receiver that has not answered by then has failed")
    pause_s: Seconds = Field(1.0, description="before the second try; doubled before each one after it")
    pause_max_s: Seconds = Field(600.0, description="no pause is longer, but for some chance")
    give_up_s: Seconds = Field(86400.0, description="so long a notice is tried; then it is given up")
    waiting_max: int = Field(
        10_000, ge=1, description="notices that wait for one receiver; beyond it the oldest are given up"
    )
    receivers: dict[str, ReceiverSettings] = Field(default_factory=dict)

    @field_validator("server_url")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#@\s]*)?", url):
            raise ValueError("must be http:// or https:// with a host, and without user, ? and #")
        return url

    @field_validator("receivers")
    @classmethod
    def _can_be_listed(cls, named: dict[str, ReceiverSettings]) -> dict[str, ReceiverSettings]:
        for name in named:
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
                raise ValueError(f"{name[:80]!r} must be 1 to 64 letters, digits, dots, hyphens, underscores")
        return named
