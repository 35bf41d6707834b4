"""What the API tells of its requests."""

from collections.abc import Sequence

from tesp_api.metrics.instruments import Count, Durations, Gauge, Instrument

UNKNOWN = "none"
"""The route of a path that no route has: what clients ask for is never a label."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BOUNDS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30)


class RequestMetrics:
    """The requests of one process."""

    def __init__(self) -> None:
        self.requests = Count(
            "tesp_http_requests_total",
            "Requests that were answered, by the template of their route; 499 is a client that left before.",
            ("method", "route", "status"),
        )
        self.seconds = Durations(
            "tesp_http_request_seconds",
            "How long it took until the answer began: of streams not how long they went on, of requests that "
            "wait for something (?wait=) as long as they wait.",
            ("method", "route"),
            bounds_s=_BOUNDS_S,
        )
        self.streams = Gauge("tesp_live_streams", "Streams of events and logs that clients have open.")

    @property
    def instruments(self) -> Sequence[Instrument]:
        """All of them."""
        return (self.requests, self.seconds, self.streams)

    def answered(self, method: str, route: str, status: int, took_s: float) -> None:
        """A request has got its answer."""
        method = method if method in _METHODS else "other"
        self.requests.add(method, route, str(status))
        self.seconds.add(took_s, method, route)
