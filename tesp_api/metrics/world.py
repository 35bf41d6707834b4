"""What is so now with the store and the destinations. Found out when somebody asks."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from tesp_api.errors import StoreUnavailable
from tesp_api.metrics.instruments import Gauge, Instrument
from tesp_api.tes.ids import made_at_s
from tesp_api.tes.states import TRANSITIONS, State

_RUNS_EVERY_S = 60.0
"""Runs are counted, which may take a while of very many."""


class Tasks(Protocol):
    """What is asked of the store of tasks."""

    async def counts(self, owner: str | None, groups: Sequence[str] = ()) -> Mapping[State, int]: ...
    async def oldest_queued(self) -> str | None: ...


class WorldMetrics:
    """Gauges that are the same for all servers of a database, and those of this server's destinations."""

    def __init__(self) -> None:
        by = ("destination",)
        self._store_up = Gauge("tesp_store_up", "1 if the store answered just now, else 0.")
        self._tasks = Gauge(
            "tesp_tasks", "Tasks in the store, which all servers share: take the max of them.", ("state",)
        )
        self._runs = Gauge(
            "tesp_runs", "Workflow runs in the store, which all servers share: take the max.", ("state",)
        )
        self._oldest = Gauge(
            "tesp_oldest_queued_seconds",
            "The age of the oldest task of all that is QUEUED; 0 if none is. All servers share it: take the "
            "max.",
        )
        self._up = Gauge(
            "tesp_destination_up", "1 while new tasks are sent there, 0 while its Pulsar does not answer.", by
        )
        self._jobs = Gauge("tesp_destination_jobs", "Jobs that this server has there.", by)
        self._most = Gauge("tesp_destination_max_jobs", "The setting max_running.", by)
        self._cores = Gauge("tesp_destination_cores_used", "Cores that these jobs asked for.", by)
        self._waiting = Gauge(
            "tesp_waiting_tasks",
            "Tasks that this server holds while they wait and that could go there; one may be counted at "
            "several.",
            by,
        )
        self._runs_at = float("-inf")

    @property
    def instruments(self) -> Sequence[Instrument]:
        """All of them."""
        destinations = (self._up, self._jobs, self._most, self._cores, self._waiting)
        return (self._store_up, self._tasks, self._runs, self._oldest, *destinations)

    async def ask_store(self, store: Tasks) -> None:
        """Ask how many tasks there are, and for the oldest.

        Raises:
            StoreUnavailable: `tesp_store_up` says so.
        """
        has_answered = False
        try:
            oldest = await store.oldest_queued()
            has_answered = True
            self._store_up.set(1)
            self._oldest.set(0.0 if oldest is None else max(0.0, time.time() - made_at_s(oldest)))
            counts = await store.counts(None)  # of very many tasks the first takes longer than a reader waits
            self._tasks.replace({(state,): counts.get(state, 0) for state in TRANSITIONS})
        except BaseException as error:
            if isinstance(error, StoreUnavailable) or not has_answered:
                self._store_up.set(0)
                self._tasks.clear()
                self._oldest.clear()
            raise

    async def ask_runs(self, count_states: Callable[[], Awaitable[Mapping[State, int]]]) -> None:
        """Ask how many runs there are, if that was not asked a moment ago.

        Raises:
            StoreUnavailable: as it comes.
        """
        if time.monotonic() - self._runs_at < _RUNS_EVERY_S:
            return
        self._runs_at = time.monotonic()
        counts = await count_states()
        self._runs.replace({(state,): count for state, count in counts.items()})

    def look_at(self, destinations: Sequence[Mapping[str, Any]]) -> None:
        """Take over how the destinations are, as `/tesp/v1/destinations` tells it."""
        by_name = {(str(one["name"]),): one for one in destinations}
        self._up.replace({at: one["health"]["state"] != "failing" for at, one in by_name.items()})
        for gauge, key in (
            (self._jobs, "running"),
            (self._most, "max_running"),
            (self._cores, "cores_used"),
            (self._waiting, "waiting"),
        ):
            gauge.replace({at: float(one[key]) for at, one in by_name.items()})
