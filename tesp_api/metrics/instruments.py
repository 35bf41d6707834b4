"""Counters, gauges and histograms of one event loop: adding to one is a change of a dict, without a lock.

prometheus_client's own instruments take a lock for each change, since they are for threads, too. It only
writes these out.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

Labels = tuple[str, ...]


class Instrument(Protocol):
    """What is exported under one name. `kind` is Prometheus's word for it."""

    name: str
    help: str
    labels: Labels
    kind: str

    def family(self) -> Metric:
        """Its values now."""


class Count:
    """How often something has happened, or how much there was of it, by labels, since the process started."""

    kind = "counter"

    def __init__(self, name: str, help: str, labels: Labels = ()) -> None:
        self.name, self.help, self.labels = name, help, labels
        self._values: dict[Labels, float] = {} if labels else {(): 0}

    def add(self, *labels: str, by: float = 1) -> None:
        """It happened again."""
        self._values[labels] = self._values.get(labels, 0) + by

    def value(self, *labels: str) -> float:
        """How often so far."""
        return self._values.get(labels, 0)

    def family(self) -> Metric:
        found = CounterMetricFamily(self.name, self.help, labels=self.labels)
        for labels, value in self._values.items():
            found.add_metric(labels, value)
        return found


class Gauge:
    """What is so now, by labels. Set when it is asked for."""

    kind = "gauge"

    def __init__(self, name: str, help: str, labels: Labels = ()) -> None:
        self.name, self.help, self.labels = name, help, labels
        self._values: Mapping[Labels, float] = {}

    def set(self, value: float) -> None:
        """The value of one without labels."""
        self._values = {(): value}

    def replace(self, values: Mapping[Labels, float]) -> None:
        """All values, in place of those before."""
        self._values = values

    def clear(self) -> None:
        """It is not known now."""
        self._values = {}

    def family(self) -> Metric:
        found = GaugeMetricFamily(self.name, self.help, labels=self.labels)
        for labels, value in self._values.items():
            found.add_metric(labels, value)
        return found


class _Series:
    """One histogram of a family."""

    __slots__ = ("counts", "sum_s")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.sum_s = 0.0


class Durations:
    """How long something took, in seconds, by labels. `bounds_s` are the buckets' upper bounds, ascending."""

    kind = "histogram"

    def __init__(self, name: str, help: str, labels: Labels = (), *, bounds_s: Sequence[float]) -> None:
        self.name, self.help, self.labels = name, help, labels
        self._bounds_s = list(bounds_s)
        self._series: dict[Labels, _Series] = {} if labels else {(): _Series(len(bounds_s) + 1)}

    def add(self, seconds: float, *labels: str) -> None:
        """It took so long once."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series(len(self._bounds_s) + 1)
        series.counts[bisect_left(self._bounds_s, seconds)] += 1
        series.sum_s += seconds

    def count(self, *labels: str) -> int:
        """How often so far."""
        found = self._series.get(labels)
        return sum(found.counts) if found else 0

    def family(self) -> Metric:
        found = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        for labels, series in self._series.items():
            found.add_metric(labels, list(self._buckets(series)), series.sum_s)
        return found

    def _buckets(self, series: _Series) -> Iterator[tuple[str, float]]:
        total = 0
        for bound, count in zip([*self._bounds_s, float("inf")], series.counts, strict=True):
            total += count
            yield "+Inf" if bound == float("inf") else str(float(bound)), total
