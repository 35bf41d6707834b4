"""The header `Range` with one range of bytes; others may be ignored. Source: RFC 9110, section 14.2."""

import re
from dataclasses import dataclass

from starlette.requests import Request

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """From the byte `first` on, a negative one counted from the end; `length` None goes to the end."""

    first: int
    length: int | None


def read_range(request: Request) -> ByteRange | None:
    """The range that a GET asks for; None for all of it, and for what is no range."""
    found = _RANGE.fullmatch(request.headers.get("range", "")) if request.method == "GET" else None
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return ByteRange(-int(found[2]), int(found[2])) if int(found[2]) else None
    if not found[2]:
        return ByteRange(int(found[1]), None)
    length = int(found[2]) - int(found[1]) + 1
    return ByteRange(int(found[1]), length) if length > 0 else None
