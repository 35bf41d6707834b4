"""The way through a message broker: Pulsar's exchange and queues, and messages that are not lost.

Source: Pulsar's `client/amqp_exchange.py`: a durable direct exchange `pulsar`, and durable queues whose name
is their routing key.
"""

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage
from aio_pika.exceptions import DeliveryError
from yarl import URL

from tesp_api.errors import PulsarUnavailable, StoreUnavailable

EXCHANGE = "pulsar"
TO_PULSAR = ("setup", "kill", "status")
FROM_PULSAR = "status_update"
TIMEOUT_S = 10.0
HEARTBEAT_S = 10
"""A connection on which nothing is heard for a little more than three times as long is given up; TCP alone
would keep it for a quarter of an hour, or for ever. `heartbeat` in the URL outdoes this."""
_RECONNECT_S = 1.0
_LOOK_S = 0.05
_UNACKNOWLEDGED = 64

_log = logging.getLogger(__name__)

Heard = Callable[[Mapping[str, Any]], Awaitable[None]]


def queue_name(manager: str | None, purpose: str) -> str:
    """The name and routing key of one of a manager's queues; None is Pulsar's default manager."""
    return f"pulsar_{manager}__{purpose}" if manager and manager != "_default_" else f"pulsar__{purpose}"


class Broker:
    """Sends to one manager of a Pulsar and hears from it; connects again whenever it has to.

    A message is sent when the broker has confirmed that it keeps it, on disk. One that is heard is
    acknowledged once `heard` has returned, so that it comes again if this process dies meanwhile. With None
    for `heard`, all messages are left to others. `ca` is the file of the authority of an amqps:// broker.
    `alone` says that nobody else may listen, since what another one hears is lost to us.
    """

    def __init__(
        self,
        name: str,
        url: str,
        manager: str | None,
        heard: Heard | None,
        ca: Path | None = None,
        *,
        alone: bool = False,
    ) -> None:
        self._name = name
        self._url = URL(url)
        if "heartbeat" not in self._url.query:
            self._url = self._url.update_query(heartbeat=HEARTBEAT_S)
        self._manager = manager
        self._heard = heard
        self._ca = ca
        self._alone = alone
        self._trouble = ""
        self._exchange: AbstractExchange | None = None
        self._channel: AbstractChannel | None = None
        self._is_ready = asyncio.Event()
        self._is_over = asyncio.Event()
        self._stopping = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to connect; a broker that is down must not keep the server from starting."""
        self._keeper = asyncio.create_task(self._stay_connected(), name=f"broker of {self._name}")

    async def aclose(self) -> None:
        """End the connection; one that is being made is finished first, since aio-pika cannot give it up."""
        self._stopping.set()
        self._is_over.set()
        if self._keeper is not None:
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def send(self, purpose: str, body: Mapping[str, Any]) -> None:
        """Hand a message to the broker.

        Raises:
            PulsarUnavailable: it is not certain that the broker has it.
        """
        message = aio_pika.Message(
            json.dumps(body).encode(),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        async with self._within_time():
            _, exchange = await self._ready()
            await exchange.publish(message, queue_name(self._manager, purpose), mandatory=True)

    async def listeners(self) -> int:
        """How many consumers the manager's `setup` queue has: none if no Pulsar runs.

        Raises:
            PulsarUnavailable: there is no connection; without waiting for a better one.
        """
        async with self._within_time():
            while not self._is_ready.is_set():
                if self._trouble:
                    raise TimeoutError
                await asyncio.sleep(_LOOK_S)
            channel, _ = await self._ready()
            queue = await channel.declare_queue(queue_name(self._manager, "setup"), durable=True)
            return int(queue.declaration_result.consumer_count or 0)

    @contextlib.asynccontextmanager
    async def _within_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                with _own_cancels_only():
                    yield
        except DeliveryError as error:
            raise PulsarUnavailable(f"Pulsar {self._name!r}: the broker did not keep a message") from error
        except Exception as error:  # aiormq 6 raises all kinds when it loses a connection, even a bare one
            late = isinstance(error, asyncio.TimeoutError)
            why = self._trouble or "it does not answer" if late else self._told(error)
            text = f"Pulsar {self._name!r}: the broker at {self._place}: {why}"
            raise PulsarUnavailable(text) from None  # the cause may show the URL

    async def _ready(self) -> tuple[AbstractChannel, AbstractExchange]:
        await self._is_ready.wait()
        assert self._channel is not None and self._exchange is not None  # noqa: S101 - set before
        return self._channel, self._exchange

    @property
    def _place(self) -> str:
        return f"{self._url.host}:{self._url.port or (5671 if self._url.scheme == 'amqps' else 5672)}"

    def _told(self, error: BaseException) -> str:
        """An error's text, without what the URL must not show."""
        text = str(error) or type(error).__name__
        for secret in (str(self._url), self._url.password, self._url.raw_password):
            text = text.replace(secret, "***") if secret else text
        return text

    async def _stay_connected(self) -> None:
        while not self._stopping.is_set():
            try:
                with _own_cancels_only():
                    connection = await aio_pika.connect(self._url, timeout=TIMEOUT_S, ssl_context=self._tls())
            except Exception as error:  # whatever it is, no message would come or go without this task
                self._trouble = self._told(error)
                _log.warning(
                    "%s: no connection to the broker at %s: %s", self._name, self._place, self._trouble
                )
            else:
                await self._use(connection)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RECONNECT_S):
                    await self._stopping.wait()

    def _tls(self) -> ssl.SSLContext | None:
        """Raises: OSError: the authority's file cannot be read."""
        if self._url.scheme != "amqps":
            return None
        return ssl.create_default_context(cafile=None if self._ca is None else str(self._ca))

    async def _use(self, connection: AbstractConnection) -> None:
        """Send and hear over this connection until it ends."""
        self._is_over.clear()
        self._trouble = ""
        connection.close_callbacks.add(lambda *_: self._is_over.set())
        try:
            with _own_cancels_only():
                async with connection:
                    async with asyncio.timeout(TIMEOUT_S):
                        await self._declare(connection)
                    if not self._stopping.is_set():
                        self._is_ready.set()
                        await self._is_over.wait()
        except Exception as error:
            _log.warning("%s: the broker at %s: %s", self._name, self._place, self._told(error))
        finally:
            self._is_ready.clear()

    async def _declare(self, connection: AbstractConnection) -> None:
        """The exchange and the queues as Pulsar declares them: whoever comes first makes them."""
        channel = await connection.channel(publisher_confirms=True)
        await channel.set_qos(prefetch_count=_UNACKNOWLEDGED)
        exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.DIRECT, durable=True)
        for purpose in (*TO_PULSAR, FROM_PULSAR):
            queue = await channel.declare_queue(queue_name(self._manager, purpose), durable=True)
            await queue.bind(exchange, queue.name)
        if self._heard is not None:
            self._look_for_others(queue.declaration_result.consumer_count or 0)
            await queue.consume(self._take)
        channel.close_callbacks.add(lambda *_: self._is_over.set())
        if channel.is_closed:
            self._is_over.set()
        self._channel, self._exchange = channel, exchange

    def _look_for_others(self, listeners: int) -> None:
        """Once, for the broker may count a connection of our own that has ended for a while."""
        if self._alone and listeners:
            _log.warning(
                "%s: another server listens to this Pulsar at %s, and takes a part of its answers away: "
                "servers without a database in common need managers of their own",
                self._name,
                self._place,
            )
        self._alone = False

    async def _take(self, message: AbstractIncomingMessage) -> None:
        assert self._heard is not None  # noqa: S101 - else nothing is consumed
        try:
            body = json.loads(message.body)
            if isinstance(body, dict) and isinstance(body.get("job_id"), str):
                await self._heard(body)
        except StoreUnavailable:
            await asyncio.sleep(_RECONNECT_S)
            await message.nack(requeue=True)
            return
        except ValueError:
            _log.warning("%s: a message is no JSON, and was thrown away", self._name)
        except Exception:
            _log.exception("%s: a message could not be taken in", self._name)
        await message.ack()


@contextlib.contextmanager
def _own_cancels_only() -> Iterator[None]:
    """Let a cancel of the present task through alone.

    A connection that is lost cancels what waits for its answers (aiormq 6). To the tasks that wait it would
    look as if they themselves were to end.

    Raises:
        ConnectionError: in place of any other cancel.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ConnectionError("the connection was lost") from None
