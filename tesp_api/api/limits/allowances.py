"""What the settings allow an identity."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from tesp_api.api.auth.identity import ANYBODY, Identity
from tesp_api.settings_limits import Allowance, LimitSettings
from tesp_api.store.usage import Cap, Measure

ALL = "limits.all"
MEASURES: tuple[Measure, ...] = ("live_tasks", "stored_tasks", "stored_log_bytes")


class Named(NamedTuple):
    """A table of the settings, with its name there."""

    name: str
    table: Allowance


class Allowances:
    """Whose limits are which.

    An admin has none of one user, and where nobody logs in, nobody has: all are one there, whose limits are
    those of all. The limits of all hold for everybody.
    """

    def __init__(self, limits: LimitSettings, admins: Collection[str] = ()) -> None:
        self._limits = limits
        self._admins = frozenset((*admins, ANYBODY))
        self.all = Named(ALL, limits.all)

    def of_user(self, who: Identity) -> Named | None:
        """The limits of this user; None if there are none."""
        return None if who.is_admin else Named(*self._limits.table_of(who.owner))

    def caps(self, who: Identity) -> list[Cap]:
        """What holds when this user creates a task."""
        own = self.of_user(who)
        return [*(_caps(own) if own else ()), *_caps(self.all, of_all=True)]

    def caps_of(self, owner: str) -> list[Cap]:
        """What holds when a task of this owner is created without them, as a step of a workflow run.

        Of admins only those count that the settings name: who is one by a token of an issuer is not known.
        """
        own = None if owner in self._admins else Named(*self._limits.table_of(owner))
        return [*(_caps(own) if own else ()), *_caps(self.all, of_all=True)]


def _caps(named: Named, *, of_all: bool = False) -> Iterator[Cap]:
    for measure in MEASURES:
        most = getattr(named.table, measure)
        if most is not None:
            yield Cap(f"{named.name}.{measure}", measure, most, of_all)
