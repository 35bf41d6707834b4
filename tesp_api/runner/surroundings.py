"""The surroundings of a task that is driven: all that its driver may use."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tesp_api.errors import PulsarRefused
from tesp_api.metrics.tasks import TaskMetrics
from tesp_api.pulsar.base import PulsarTransport
from tesp_api.runner.deadlines import Deadlines
from tesp_api.runner.gateway import Gateway
from tesp_api.runner.health import Health
from tesp_api.runner.lending import Lender
from tesp_api.runner.places import Place
from tesp_api.settings import Settings
from tesp_api.store.base import Job, TaskStore


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What running a task needs: the store, the ways to the sites, the rules, what gives workers access to
    storage, what moves files for them, who answers, the place for a new job, how long the task may be in a
    state, a bell of its own, how to give the place to others, and how many jobs a destination has. `server`
    is our identity where others share the store. `metrics` are told what happens."""

    store: TaskStore
    transports: Mapping[str, PulsarTransport]
    settings: Settings
    lender: Lender
    gateway: Gateway
    health: Health
    place: Place
    deadlines: Deadlines
    wake: asyncio.Event
    leave: Callable[[], None]
    crowd: Callable[[str], int]
    server: str = ""
    metrics: TaskMetrics = field(default_factory=TaskMetrics)

    def reaches(self, job: Job) -> bool:
        """Whether this server can have anything to do with a job: it is in no other server's own Pulsar."""
        return job.server in ("", self.server)

    def transport_to(self, destination: str) -> PulsarTransport:
        """The way to a destination.

        Raises:
            PulsarRefused: the settings do not name it (any more).
        """
        if destination not in self.transports:
            raise PulsarRefused(f"the settings have no destination {destination!r} (any more)")
        return self.transports[destination]
