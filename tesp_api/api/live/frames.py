"""Server-sent events as bytes. Source: HTML Living Standard, 9.2, server-sent events."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic_core import to_json

P = TypeVar("P")

KEEP_ALIVE = b":\n\n"
RETRY = b"retry: 2000\n\n"
"""After so many milliseconds a client comes back when a stream has ended without its `end`."""


@dataclass(frozen=True, slots=True)
class Step(Generic[P]):
    """What comes after a place of a stream, and the place behind it.

    `is_over` ends the stream; `has_more` says that more is there already.
    """

    data: bytes
    place: P
    is_over: bool = False
    has_more: bool = False


def frame(event: str, data: Mapping[str, Any], place: object = "") -> bytes:
    """One event; with a place, that is its id."""
    name = f"id: {place}\n" if str(place) else ""
    return b"%sevent: %s\ndata: %s\n\n" % (name.encode(), event.encode(), _json(data))


def _json(data: Mapping[str, Any]) -> bytes:
    """In one line: the newlines of texts are escaped."""
    return to_json(data, inf_nan_mode="constants")
