"""A span as we know it, whatever sends it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tesp_api.tes.traceparent import TraceParent

Attributes = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time, in a trace. Ids are hexadecimal; without a `parent_id` it is the first one.

    `error` says why it failed. One that `is_request` came from outside.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began_at: datetime
    ended_at: datetime
    attributes: Attributes = field(default_factory=dict)
    error: str = ""
    is_request: bool = False


Emit = Callable[[Span], None]
"""Has a span sent some time; never waits, never fails."""


def is_sent(parent: TraceParent, share: float) -> bool:
    """Whether a trace is sent: as its client says, or for this share of those that begin here.

    For one trace the answer is the same on every server.
    """
    if parent.span_id:
        return parent.is_sampled
    chance = int.from_bytes(hashlib.sha256(parent.trace_id.encode()).digest()[:8])
    return chance < share * 2**64
