"""What becomes of the notices to webhooks."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from tesp_api.metrics.instruments import Count, Gauge, Instrument


class WebhookMetrics:
    """Receivers have no label: users name them."""

    def __init__(self) -> None:
        self.tries = Count(
            "tesp_webhook_tries_total",
            "Tries of this server to deliver a notice: delivered, waiting (it failed and is tried again), "
            "or given_up.",
            ("outcome",),
        )
        self._waiting = Gauge(
            "tesp_webhook_notices_waiting",
            "Notices that wait for their receivers, which all servers share: take the max of them.",
        )

    @property
    def instruments(self) -> Sequence[Instrument]:
        """All of them."""
        return (self.tries, self._waiting)

    async def ask_waiting(self, waiting: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
        """Ask how many there are, by receiver.

        Raises:
            StoreUnavailable: it is not known now.
        """
        self._waiting.clear()
        self._waiting.set(sum((await waiting()).values()))
