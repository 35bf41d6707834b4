"""Which destinations answer: a circuit breaker for each, so that no new task is sent to one that does not.

Tasks that are at a destination already are not touched by any of this: they ask on.
"""

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from tesp_api.errors import PulsarError, PulsarUnavailable
from tesp_api.pulsar.base import PulsarTransport

_log = logging.getLogger(__name__)

OPENS_AFTER = 3
PROBE_MIN_S, PROBE_MAX_S = 1.0, 60.0
FRESH_S = 2.0
"""A destination that answered so recently is not asked again before a task is sent there."""
_CHECK_TIMEOUT_S = 5.0

Clock = Callable[[], float]


@dataclass(slots=True)
class Circuit:
    """Closed while a destination answers; open after `OPENS_AFTER` failures in a row, until it answers.

    While it is open, a probe is due at `probe_at`; each that fails puts the next one off for twice as long.
    """

    clock: Clock = time.monotonic
    failures: int = 0
    last_error: str = ""
    probe_at: float | None = None
    answered_at: float | None = None
    failed_at: float | None = None
    _pause_s: float = field(default=PROBE_MIN_S)

    @property
    def is_open(self) -> bool:
        """Whether no new tasks may be sent."""
        return self.probe_at is not None

    @property
    def is_fresh(self) -> bool:
        """Whether it answered a moment ago, and has not failed since."""
        answered_at = self.answered_at
        return answered_at is not None and not self.failures and self.clock() - answered_at < FRESH_S

    def fail(self, error: str) -> None:
        """It did not answer. Only a failure after the probe was due puts the next probe off."""
        self.failures += 1
        self.last_error = error
        now = self.failed_at = self.clock()
        if self.probe_at is None and self.failures >= OPENS_AFTER:
            self.probe_at, self._pause_s = now + PROBE_MIN_S, PROBE_MIN_S
        elif self.probe_at is not None and now >= self.probe_at:
            self._pause_s = min(2 * self._pause_s, PROBE_MAX_S)
            self.probe_at = now + self._pause_s

    def succeed(self) -> None:
        """It answered."""
        self.failures, self.last_error, self.probe_at = 0, "", None
        self.answered_at = self.clock()


class Health:
    """The circuits of all destinations, and the probes of those that are open.

    `changed` is called when one opens or closes.
    """

    def __init__(
        self,
        transports: Mapping[str, PulsarTransport],
        changed: Callable[[], None],
        clock: Clock = time.monotonic,
    ) -> None:
        self._transports = transports
        self._changed = changed
        self._circuits = {name: Circuit(clock) for name in transports}
        self._clock = clock
        self._probes: dict[str, asyncio.Task[None]] = {}

    @property
    def circuits(self) -> Mapping[str, Circuit]:
        """The circuit of each destination."""
        return self._circuits

    async def aclose(self) -> None:
        """End the probes."""
        probes = list(self._probes.values())
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)

    def closed_destinations(self) -> dict[str, str]:
        """Those to which no new tasks may be sent, and what to tell users of them."""
        return {name: "its Pulsar does not answer" for name, one in self._circuits.items() if one.is_open}

    @contextlib.contextmanager
    def watch(self, name: str) -> Iterator[None]:
        """Count what is done within as an answer of the destination, or as its failure to answer.

        A refusal is an answer too. Other errors say nothing.
        """
        circuit = self._circuits[name]
        was_open = circuit.is_open
        try:
            yield
        except PulsarUnavailable as error:
            circuit.fail(str(error))
            raise
        except PulsarError:
            circuit.succeed()
            raise
        else:
            circuit.succeed()
        finally:
            if circuit.is_open is not was_open:
                self._turned(name, circuit)

    def doubt(self, name: str) -> None:
        """A job there could not be asked for: ask whether all is well before a new task is sent."""
        if name in self._circuits:
            self._circuits[name].answered_at = None
            self._circuits[name].failed_at = self._clock()

    def has_failed_since(self, name: str, moment: float) -> bool:
        """Whether the destination did not answer somebody since then, by this clock."""
        failed_at = self._circuits[name].failed_at if name in self._circuits else None
        return failed_at is not None and failed_at >= moment

    async def check(self, name: str) -> None:
        """Ask the destination whether it is well, for `/readyz`.

        Raises:
            PulsarUnavailable: it is not; the text also says whether tasks are kept from it.
            PulsarRefused: as it comes.
        """
        try:
            await self._ask(name)
        except PulsarUnavailable as error:
            if not self._circuits[name].is_open:
                raise
            raise PulsarUnavailable(f"{error}; no new tasks are sent there until it answers") from error

    async def assure(self, name: str) -> None:
        """Return if the destination answered a moment ago, or does now; a refusal is left to the launch.

        Raises:
            PulsarUnavailable: it does not.
        """
        if not self._circuits[name].is_fresh:
            try:
                await self._ask(name)
            except PulsarUnavailable:
                raise
            except PulsarError as error:
                _log.warning("destination %s: %s", name, error)

    async def _ask(self, name: str) -> None:
        with self.watch(name):
            try:
                async with asyncio.timeout(_CHECK_TIMEOUT_S):
                    await self._transports[name].check()
            except TimeoutError:
                raise PulsarUnavailable(
                    f"Pulsar {name!r} did not answer within {_CHECK_TIMEOUT_S:g} seconds"
                ) from None

    def _turned(self, name: str, circuit: Circuit) -> None:
        if circuit.is_open:
            _log.warning("no new tasks are sent to %s until it answers: %s", name, circuit.last_error)
            if name not in self._probes:
                self._probes[name] = asyncio.create_task(
                    self._probe(name),
                    name=f"probe {name}",
                    context=contextvars.Context(),  # it says nothing of the task that met the outage
                )
        else:
            _log.info("tasks are sent to %s again", name)
        self._changed()

    async def _probe(self, name: str) -> None:
        circuit = self._circuits[name]
        try:
            while circuit.probe_at is not None:
                await asyncio.sleep(max(0.0, circuit.probe_at - self._clock()))
                if circuit.is_open:
                    await self._try(name)
        finally:
            del self._probes[name]

    async def _try(self, name: str) -> None:
        try:
            await self._ask(name)
        except PulsarError as error:
            _log.debug("destination %s: %s", name, error)
        except Exception as error:
            _log.exception("asking destination %s failed", name)
            self._circuits[name].fail(str(error))
