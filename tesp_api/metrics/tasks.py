"""What the runner tells of the tasks that this server drives."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tesp_api.metrics.instruments import Count, Durations, Gauge, Instrument
from tesp_api.metrics.timeline import LONGEST_S, Timeline
from tesp_api.tes.states import FINAL, TRANSITIONS, State
from tesp_api.tes.times import now

NOWHERE = "none"
"""The destination of a task that has none yet."""

_CAUSES = frozenset({"never_started", "storage_away", "staging", "preempted", "lost", "executor"})
_LIVE = [state for state in TRANSITIONS if state not in FINAL]
_PHASE_BOUNDS_S = (0.1, 0.5, 1, 5, 15, 60, 300, 1_800, 7_200, 43_200, 259_200)


@dataclass(slots=True)
class _Held:
    state: State
    destination: str
    since: float


class TaskMetrics:
    """The tasks of one process. All methods belong to its event loop, and none of them waits or fails."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        at, told = ("destination",), "the worker's events"
        self.phases = Durations(
            "tesp_task_phase_seconds",
            "How long the phases of tasks took: queued (from its creation until its first worker began), "
            f"initializing, executor (each), uploading (all three by {told}), whole (from creation to end).",
            ("phase", *at),
            bounds_s=_PHASE_BOUNDS_S,
        )
        self.ended = Count(
            "tesp_tasks_ended_total", "Tasks that this server brought to their end.", ("state", *at)
        )
        self.retries = Count(
            "tesp_task_retries_total", "Attempts that failed and are followed by another one.", ("cause", *at)
        )
        self.moved = Count(
            "tesp_transferred_bytes_total",
            "Bytes of inputs and outputs that attempts have moved; mounted files are not.",
            ("protocol", "direction", *at),
        )
        self.long_bytes = Count(
            "tesp_long_transfer_bytes_total",
            "Bytes of transfers that took longer than a second: see tesp_long_transfer_seconds_total.",
            ("protocol", "direction", *at),
        )
        self.long_seconds = Count(
            "tesp_long_transfer_seconds_total",
            "Seconds of transfers that took longer than one; several of a task go on at one time.",
            ("protocol", "direction", *at),
        )
        self.takeovers = Count(
            "tesp_takeovers_total",
            "Tasks taken up that another process had held: of a server that died, or this one before its "
            "restart.",
        )
        self.lost = Count("tesp_leases_lost_total", "Tasks that another process took from this one.")
        self.renewals_failed = Count(
            "tesp_lease_renewals_failed_total", "Times that the leases could not be renewed."
        )
        self.driver_faults = Count(
            "tesp_driver_faults_total",
            "Times that a task could not be driven on and waits: pulsar or store do not answer, or a bug.",
            ("kind",),
        )
        self._driven = Gauge(
            "tesp_driven_tasks", "Tasks that this server holds the lease of.", ("state", *at)
        )
        self._longest = Gauge(
            "tesp_state_longest_seconds",
            "How long the task that has been in this state for longest has been so, of those that this "
            "server drives, and since it does.",
            ("state",),
        )
        self._leases = Gauge("tesp_leases_held", "Tasks that this server holds the lease of, all together.")

    @property
    def instruments(self) -> Sequence[Instrument]:
        """All of them."""
        counts = (self.ended, self.retries, self.moved, self.long_bytes, self.long_seconds)
        leases = (self._leases, self.takeovers, self.lost, self.renewals_failed, self.driver_faults)
        return (self._driven, self._longest, self.phases, *counts, *leases)

    # -- leases

    def claimed(self, task_id: str, state: State, destination: str | None, *, is_takeover: bool) -> None:
        """The task is ours from now on."""
        self._held[task_id] = _Held(state, destination or NOWHERE, time.monotonic())
        if is_takeover:
            self.takeovers.add()

    def let_go(self, task_id: str, *, is_lost: bool) -> None:
        """The task is not ours any more."""
        self._held.pop(task_id, None)
        if is_lost:
            self.lost.add()

    def renewed(self, held: Mapping[str, State]) -> None:
        """The store says which tasks are ours, and in which states."""
        for task_id, state in held.items():
            self.entered(task_id, state)

    # -- the life of a task

    def placed(self, task_id: str, destination: str) -> None:
        """An attempt of the task begins there."""
        if (one := self._held.get(task_id)) is not None:
            one.destination = destination

    def entered(self, task_id: str, state: State) -> None:
        """The task is in this state now."""
        one = self._held.get(task_id)
        if one is not None and one.state is not state:
            one.state, one.since = state, time.monotonic()

    def attempt_ended(
        self, destination: str, timeline: Timeline, *, created_at: datetime | None = None
    ) -> None:
        """An attempt is over, and its end is stored. `created_at` is the task's, if this was its first."""
        began_at = timeline.began_at
        if created_at is not None and began_at is not None:
            queued_s = max(0.0, (began_at - created_at).total_seconds())
            if queued_s < LONGEST_S:
                self.phases.add(queued_s, "queued", destination)
        for phase in timeline.phases():
            took_s = (phase.ended_at - phase.began_at).total_seconds()
            self.phases.add(took_s, phase.name, destination)
        for (protocol, direction), moved_bytes in timeline.moved_bytes.items():
            self.moved.add(protocol, direction, destination, by=moved_bytes)
        for one in timeline.transfers():
            self.long_bytes.add(one.protocol, one.direction, destination, by=one.done_bytes)
            self.long_seconds.add(one.protocol, one.direction, destination, by=one.took_s)

    def retried(self, destination: str, cause: str) -> None:
        """Another attempt follows one that ended for this cause."""
        self.retries.add(cause if cause in _CAUSES else "other", destination)

    def task_ended(
        self, task_id: str, state: State, destination: str | None, *, created_at: datetime
    ) -> None:
        """The task's end is stored."""
        self.entered(task_id, state)
        where = destination or NOWHERE
        self.ended.add(state, where)
        self.phases.add(max(0.0, (now() - created_at).total_seconds()), "whole", where)

    def look(self) -> None:
        """Set what is so now."""
        driven: Counter[tuple[str, ...]] = Counter()
        oldest: dict[State, float] = {}
        for one in self._held.values():
            driven[one.state, one.destination] += 1
            oldest[one.state] = min(oldest.get(one.state, one.since), one.since)
        moment = time.monotonic()
        self._driven.replace(driven)
        self._longest.replace(
            {(state,): moment - oldest[state] if state in oldest else 0.0 for state in _LIVE}
        )
        self._leases.set(len(self._held))
