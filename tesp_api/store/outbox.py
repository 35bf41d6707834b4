"""The outbox: changes of states that somebody wants to be told of.

A task or a run may have a `Watch`, which is stored with it. Each change of its state then puts a `Notice` for
every hook that wants this state into the outbox, in the very step that makes the change: whatever dies, there
is a notice if and only if there was a change. Whoever delivers claims notices, for one receiver at a time.

Notices for one receiver about one task, or run, wait for each other: only the oldest can be claimed. All
others are independent. All methods raise `StoreUnavailable` while the database does not answer.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from tesp_api.tes.states import State

Kind = Literal["task", "run"]
Fate = Literal["waiting", "delivered", "given_up"]


@dataclass(frozen=True, slots=True)
class Hook:
    """A receiver, which means something to who delivers, and the states of which it is told."""

    receiver: str
    states: frozenset[State]


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told of a task's states, or a run's. `about` is given back with each notice, as it is.

    It is ASCII text. Neither ever changes.
    """

    hooks: tuple[Hook, ...]
    about: str

    def receivers(self, state: State) -> list[str]:
        """Who is told of this state."""
        return [hook.receiver for hook in self.hooks if state in hook.states]


@dataclass(frozen=True, slots=True)
class Notice:
    """Tells one receiver that `subject` came into `state`; claimed for its try number `tries`.

    `event_id` is the same for all receivers of a change, and whenever it is sent. `previous` is None for the
    first state of all. `number` counts the changes of the subject.
    """

    key: str
    event_id: str
    receiver: str
    kind: Kind
    subject: str
    number: int
    state: State
    previous: State | None
    attempt: int
    at: datetime
    about: str
    tries: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a try ended, and what was said: a notice that is still `waiting` is tried again in `after_s`."""

    fate: Fate
    said: str
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a notice so far. `said` is how the last try ended; `done_at` is None while it waits."""

    event_id: str
    receiver: str
    state: State
    attempt: int
    at: datetime
    fate: Fate
    tries: int
    said: str
    done_at: datetime | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What stays in the outbox: notices wait so long, so many for each receiver; then they are given up.

    What is delivered or given up is kept for `kept_s`, for people to look at.
    """

    give_up_s: float
    waiting_max: int
    kept_s: float


class Outbox(Protocol):
    """The notices in the database of the tasks. It is open while the task store is."""

    async def receivers(self) -> list[str]:
        """Those for whom a notice waits, be it due or not.

        What has been announced can be claimed once somebody has asked for this since.
        """

    async def claim(self, receiver: str, *, limit: int, lease_s: float) -> list[Notice]:
        """Claim up to `limit` notices that are due, oldest first, for a try of `lease_s` at most.

        Safe to call from several processes at once: no notice is claimed twice before its lease is over.
        Opening an embedded store makes all that wait due.
        """

    async def settle(self, notice: Notice, outcome: Outcome) -> None:
        """Say how the try of a claimed notice ended. Does nothing if another try has begun since."""

    async def sweep(self, bounds: Bounds) -> int:
        """Keep the outbox within `bounds`; returns how many notices were given up."""

    async def deliveries(self, subject: str) -> list[Delivery]:
        """The notices about a task or run that are still known, oldest first."""

    async def waiting(self) -> Mapping[str, int]:
        """How many notices wait, by receiver; those without any are left out."""


def hooks_to_json(hooks: Sequence[Hook]) -> str:
    """As stored."""
    return json.dumps([[hook.receiver, sorted(hook.states)] for hook in hooks])


def hooks_from_json(stored: str) -> tuple[Hook, ...]:
    return tuple(Hook(name, frozenset(map(State, states))) for name, states in json.loads(stored))


def event_id_of(subject: str, number: int) -> str:
    """The id of the change number `number`, from 1, of a task or run."""
    return f"{subject}.{number}"
