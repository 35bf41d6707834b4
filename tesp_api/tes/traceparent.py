"""Which trace something belongs to: that of the client, or one that follows from its id.

Nothing is stored but a line of the task's system logs, and that only where a client names a trace. So whoever
drives a task, after whatever restart, comes to the same ids.

Source: W3C Trace Context, level 1, section 3.2 (traceparent).
"""

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

TRACED_AS = "part of trace "
"""So begins the line of a task's warnings, or of a run's system logs, that names the trace it is part of."""

_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


class TraceParent(NamedTuple):
    """A trace, and the span in it that something follows from; "" if it is the first of its trace."""

    trace_id: str
    span_id: str
    is_sampled: bool = True

    def as_line(self) -> str:
        """What a task's warnings say of it."""
        return f"{TRACED_AS}00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"


def parse_traceparent(header: str) -> TraceParent | None:
    """What the header says; None if it is not valid, as if there were none."""
    found = _FORM.fullmatch(header)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if not int(trace_id, 16) or not int(span_id, 16) or (version == "00" and more):
        return None
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def trace_of(one_id: str, lines: Iterable[str] = ()) -> TraceParent:
    """The trace of a task or run: that which a line of its logs names, or one of its own, by its id."""
    for line in lines:
        if line.startswith(TRACED_AS) and (named := parse_traceparent(line.removeprefix(TRACED_AS))):
            return named
    digits = one_id.replace("-", "")
    is_plain = re.fullmatch(r"[0-9a-f]{32}", digits) and int(digits, 16)
    return TraceParent(digits if is_plain else hashlib.sha256(one_id.encode()).hexdigest()[:32], "")


def span_id_of(*parts: str) -> str:
    """The id of a span that is known by these words, whoever makes it, and whenever."""
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:16]
