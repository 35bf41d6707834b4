"""Times every call of a store or a transport, from outside of it."""

import functools
import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from tesp_api.errors import TespError
from tesp_api.metrics.instruments import Count, Durations, Instrument, Labels

T = TypeVar("T")
R = TypeVar("R")

_BOUNDS_S = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 1, 5, 20)


class CallMetrics:
    """How long calls took, and how often one failed with an error that is told of."""

    def __init__(self, name: str, what: str, labels: Labels, *, errors: tuple[type[TespError], ...]) -> None:
        """`errors` are those that mean a failure; all others are answers."""
        self.seconds = Durations(
            f"tesp_{name}_call_seconds", f"How long {what} took, failed ones too.", labels, bounds_s=_BOUNDS_S
        )
        self.failures = Count(
            f"tesp_{name}_errors_total", f"How often {what} failed, by the error.", (*labels, "error")
        )
        self._errors = errors

    @property
    def instruments(self) -> Sequence[Instrument]:
        """All of them."""
        return (self.seconds, self.failures)

    def measured(
        self, inner: T, protocol: type, *labels: str, prefix: str = "", but: Sequence[str] = ()
    ) -> T:
        """The same object, with each coroutine of `protocol` timed, under its name and these labels.

        `prefix` stands before the names. `but` are left out: they wait for something by design.
        """
        names = [name for name, one in vars(protocol).items() if inspect.iscoroutinefunction(one)]
        timed = {
            name: self._timed(getattr(inner, name), (*labels, prefix + name))
            for name in names
            if name not in but
        }
        return cast(T, _Measured(inner, timed))

    def _timed(self, call: Callable[..., Awaitable[R]], labels: Labels) -> Callable[..., Awaitable[R]]:
        @functools.wraps(call)
        async def timed(*args: Any, **kwargs: Any) -> R:
            began_at = time.perf_counter()
            try:
                return await call(*args, **kwargs)
            except self._errors as error:
                self.failures.add(*labels, type(error).__name__)
                raise
            finally:
                self.seconds.add(time.perf_counter() - began_at, *labels)

        return timed


class _Measured:
    """Stands for another object: what is timed comes from here, all else from there."""

    def __init__(self, inner: object, timed: dict[str, Callable[..., Any]]) -> None:
        self._inner = inner
        self.__dict__.update(timed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
