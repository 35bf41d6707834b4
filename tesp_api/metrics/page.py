"""All metrics of a server, and the page that Prometheus reads."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import version
from typing import NamedTuple

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from tesp_api.errors import PulsarError, StoreUnavailable
from tesp_api.metrics.calls import CallMetrics
from tesp_api.metrics.instruments import Count, Gauge, Instrument
from tesp_api.metrics.loop import LoopLag
from tesp_api.metrics.requests import RequestMetrics
from tesp_api.metrics.tasks import TaskMetrics
from tesp_api.metrics.webhooks import WebhookMetrics
from tesp_api.metrics.world import WorldMetrics

_PATIENCE_S = 2.0
"""What cannot be told in this time is left out."""

_log = logging.getLogger(__name__)

Asker = Callable[[], Awaitable[None]]


class Described(NamedTuple):
    """What the docs say of a metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


class Metrics(Collector):
    """The instruments of one process, by what feeds them.

    Whoever has more of them calls `add`, and `ask` for what is to be found out whenever the page is read.
    """

    def __init__(self) -> None:
        self.tasks = TaskMetrics()
        self.requests = RequestMetrics()
        self.world = WorldMetrics()
        self.webhooks = WebhookMetrics()
        self.loop = LoopLag()
        self.store = CallMetrics("store", "a call of the store", ("operation",), errors=(StoreUnavailable,))
        self.pulsar = CallMetrics(
            "pulsar", "a call of a Pulsar", ("destination", "operation"), errors=(PulsarError,)
        )
        self.traces_dropped = Count(
            "tesp_traces_dropped_total", "Tasks and runs of which no spans were sent, for want of time."
        )
        self.spans_unsent = Count(
            "tesp_spans_unsent_total",
            "Spans that the collector did not take, or that could not be sent to it.",
        )
        build = Gauge("tesp_build_info", "Always 1; its label is the version.", ("version",))
        build.replace({(version("tesp-api"),): 1})
        calls = (self.requests, self.store, self.pulsar, self.webhooks)
        parts = (self.world, self.tasks, self.loop, *calls)
        self._instruments: list[Instrument] = [build, *(one for part in parts for one in part.instruments)]
        self._instruments += [self.traces_dropped, self.spans_unsent]
        self._askers: list[Asker] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def add(self, *instruments: Instrument) -> None:
        """Export these, too."""
        self._instruments += instruments

    def ask(self, asker: Asker) -> None:
        """Have this called before the page is made; one that fails or takes long is left out of it."""
        self._askers.append(asker)

    def describe_all(self) -> list[Described]:
        """What is exported of our own, in the order of the docs."""
        return [Described(one.name, one.kind, one.labels, one.help) for one in self._instruments]

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The metrics now, in the format that the header asks for, and its content type."""
        await asyncio.gather(*(_asked(one) for one in self._askers))
        self.tasks.look()
        self.loop.look()
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are known to be different, which the docs' test sees to."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client."""
        return (one.family() for one in self._instruments)


async def _asked(asker: Asker) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await asker()
    except (StoreUnavailable, TimeoutError) as error:
        _log.debug("some metrics are left out: %s", error)
    except Exception:
        _log.exception("some metrics are left out")
