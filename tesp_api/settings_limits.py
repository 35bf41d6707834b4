"""The settings that say how much of the server one user, and all together, may take."""

from typing import Annotated

from pydantic import Field, model_validator

from tesp_api.settings_base import Seconds, Table

Count = Annotated[int, Field(ge=1, le=10**9)]
PerSecond = Annotated[float, Field(gt=0, le=1e6)]


class Allowance(Table):
    """What may be taken. What is not set is without limit."""

    requests_per_s: PerSecond | None = Field(
        None, description="in the long run; what a request costs beyond the ordinary counts as further ones"
    )
    requests_burst: Count = Field(1000, description="so many more at once, after a time without any")
    live_tasks: Count | None = Field(None, description="tasks that have not ended")
    stored_tasks: Count | None = Field(None, description="tasks, also those that have ended")
    stored_log_bytes: Annotated[int, Field(ge=1)] | None = Field(
        None, description="executors' output that is kept; from then on no new tasks, until some are deleted"
    )
    lists_at_once: Count = Field(3, description="costly lists; further ones wait for their turn")
    streams_at_once: Count = Field(5000, description="streams of events and logs, and requests that wait")

    @property
    def bounds_tasks(self) -> bool:
        """Whether anything must be counted when a task is created."""
        return not self.live_tasks == self.stored_tasks == self.stored_log_bytes is None


class UserAllowance(Allowance):
    """What one user may take."""

    lists_at_once: Count = Field(2, description="costly lists; further ones wait for their turn")
    streams_at_once: Count = Field(100, description="streams of events and logs, and requests that wait")


class SpecialAllowance(UserAllowance):
    """What each of some users may take, instead of what the others may."""

    users: tuple[str, ...] = Field(
        min_length=1, description="names of users, ISSUER#SUBJECT of others; of each, not of all together"
    )


class LoginLimits(Table):
    """How many wrong logins are looked at. The same wrong one counts once, however often it comes."""

    per_address: Count = Field(30, description="from one address (of IPv6, a /48), whoever is named")
    per_user: Count = Field(
        20, description="that name one user; from then on an address that has failed for it must wait"
    )
    within_s: Seconds = Field(600.0, description="so many in this time; each is forgotten bit by bit")


class LimitSettings(Table):
    """What is answered with 429, and when."""

    user: UserAllowance = UserAllowance()
    all: Allowance = Allowance()
    special: dict[str, SpecialAllowance] = Field(
        default_factory=dict, description="tables that hold instead of `user`, whole, for the users they name"
    )
    logins: LoginLimits = LoginLimits()

    @model_validator(mode="after")
    def _fits(self) -> "LimitSettings":
        own = {"user": self.user, **{f"special.{name}": one for name, one in self.special.items()}}
        for name, allowance in own.items():
            for what in ("requests_per_s", "live_tasks", "stored_tasks", "stored_log_bytes"):
                of_user, of_all = getattr(allowance, what), getattr(self.all, what)
                if of_user is not None and of_all is not None and of_user > of_all:
                    raise ValueError(f"{name}.{what} is more than all.{what}: nobody could ever take it")
        named = [user for one in self.special.values() for user in one.users]
        if twice := {user for user in named if named.count(user) > 1}:
            raise ValueError(f"special: {', '.join(sorted(twice))} is in two tables, or twice in one")
        return self

    def table_of(self, owner: str) -> tuple[str, UserAllowance]:
        """The table that holds for this user, by its name in the settings, and what it says."""
        found = ((f"limits.special.{name}", one) for name, one in self.special.items() if owner in one.users)
        return next(found, ("limits.user", self.user))
