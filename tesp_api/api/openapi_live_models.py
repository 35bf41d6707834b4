"""What the answers of live views look like, for the OpenAPI document."""

from typing import Literal

from pydantic import BaseModel, Field

from tesp_api.tes.states import State

_MOMENT = "2026-01-31T12:00:00.000000+00:00"


class TaskRow(BaseModel):
    """What tells tasks apart. What there is not is absent."""

    id: str = Field(description="The task's id.")
    state: State = Field(description="Where it is in its life.")
    owner: str = Field(description="Whose it is.")
    attempt: int = Field(description="How many attempts there were, this one included; 0 before the first.")
    created_at: str = Field(description="RFC 3339, in UTC.", examples=[_MOMENT])
    ended_at: str | None = Field(None, description="RFC 3339, in UTC.")
    name: str | None = Field(None, description="The task's name.")
    destination: str | None = Field(None, description="Where the last attempt went.")
    image: str | None = Field(None, description="The first executor's.")
    tags: dict[str, str] | None = Field(None, description="Absent, too, if they are longer than 4 KiB.")


class TaskRows(BaseModel):
    """A page of rows."""

    tasks: list[TaskRow] = Field(description="Newest first.")
    next_page_token: str | None = Field(None, description="Absent on the last page.")


class Counts(BaseModel):
    """How many tasks are in each state."""

    states: dict[str, int] = Field(description="By state.", examples=[{"QUEUED": 12, "COMPLETE": 345678}])


class DestinationHealth(BaseModel):
    """Whether its Pulsar answers."""

    state: Literal["well", "trying", "failing"] = Field(
        description="`trying`: the last requests failed. `failing`: no tasks are sent there until it answers."
    )
    reason: str | None = Field(None, description="For admins.")


class Destination(BaseModel):
    """A place where tasks run, as one server knows it. Limits that there are not are absent."""

    name: str = Field(description="As in the settings, and in rows.")
    kind: Literal["embedded", "rest", "amqp"] = Field(description="How Pulsar is reached.")
    place: str | None = Field(None, description="For admins.")
    health: DestinationHealth = Field(description="Whether it answers.")
    running: int = Field(description="Tasks of this server that are there.")
    max_running: int = Field(description="So many at one time.")
    cores_used: int = Field(description="What they have asked for.")
    cores: int | None = Field(None, description="So many at one time.")
    ram_gb_used: float = Field(description="What they have asked for.")
    ram_gb: float | None = Field(None, description="So much at one time.")
    waiting: int = Field(description="Tasks that wait for a place, and could go there.")


class Destinations(BaseModel):
    """All destinations."""

    destinations: list[Destination] = Field(description="In the order of the settings.")


class Me(BaseModel):
    """Who sends the request."""

    subject: str = Field(description="`anybody`, where nobody logs in.")
    issuer: str | None = Field(None, description="`local` for the server's own users.")
    owner: str | None = Field(None, description="As in rows of your tasks.")
    name: str | None = Field(None, description="For people.")
    groups: list[str] = Field(description="With which tasks may be shared with you.")
    is_admin: bool = Field(description="Whether you see all tasks.")
    scopes: list[str] = Field(description="What the credentials are good for.")
    ways: list[str] = Field(description="How one logs in here; none, where nobody has to.")
