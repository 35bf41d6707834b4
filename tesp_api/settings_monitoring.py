"""The settings of what tells how the server is: metrics and traces."""

import re
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from tesp_api.settings_base import Table

_TOKEN_MIN_CHARACTERS = 32
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]


class MetricsSettings(Table):
    """`/metrics`, for Prometheus. It tells of all users' tasks, though not whose they are."""

    enabled: bool = Field(True, description="whether there is /metrics")
    token: SecretStr | None = Field(
        None,
        description="who reads /metrics sends it (Bearer), 32 characters or more; without it nobody may "
        "where users log in, and everybody where none do",
    )

    @field_validator("token")
    @classmethod
    def _long_enough(cls, token: SecretStr | None) -> SecretStr | None:
        text = None if token is None else token.get_secret_value()
        if text is not None and len(text) < _TOKEN_MIN_CHARACTERS:
            raise ValueError("must have 32 characters or more; `openssl rand -hex 32` makes one")
        if text is not None and not re.fullmatch(r"[!-~]+", text):
            raise ValueError("must be visible ASCII without spaces: a header carries it")
        return token


class TracingSettings(Table):
    """Traces by OpenTelemetry, for which the extra `otel` must be installed."""

    url: str | None = Field(
        None,
        pattern=r"^https?://[^/?#@\s]+(/[^?#@\s]*)?$",
        description="where spans go (OTLP over HTTP), http://127.0.0.1:4318/v1/traces; nowhere, unless set",
    )
    headers: dict[HeaderName, SecretStr] = Field(
        default_factory=dict, description="sent along: {Authorization = ...}"
    )
    service_name: str = Field("tesp", min_length=1, description="what the traces call this server")
    share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="of the traces that begin here, which part is sent; of others all that are",
    )

    @property
    def is_on(self) -> bool:
        """Whether there are traces."""
        return self.url is not None
