"""The settings that say who may use the server, and what is written down about it."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tesp_api.settings_base import Seconds, Table

HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+$")]


class AuthSettings(Table):
    """Who may use the server, and how they show who they are."""

    modes: tuple[Literal["none", "basic", "token"], ...] = Field(
        ("none",), min_length=1, description="none: nobody logs in; or one or more of basic, token"
    )
    open_to_network: bool = Field(
        False, description="none: serve other machines too; whoever reaches the port runs programs here"
    )
    hosts: tuple[HostName, ...] = Field(
        (), description="none: the names by which it is called, if they have a dot: tesp.lab.example.org"
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
