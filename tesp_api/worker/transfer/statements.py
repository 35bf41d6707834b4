"""What an HTTP server states about a file: its version, its checksums, and when to ask again.

Source: RFC 9110 (validators, ranges, Retry-After), RFC 9530 (Repr-Digest, Content-Digest),
RFC 3230 (Digest), RFC 1864 (Content-MD5).
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from email.message import Message
from email.utils import mktime_tz, parsedate_tz
from typing import Iterator

from .moving import Claim

HASH_NAMES = {"md5": "md5", "sha": "sha1", "sha-256": "sha256", "sha-512": "sha512"}
DIGEST_BYTES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}


def validator_of(headers: Message) -> str:
    """A strong ETag, or a Last-Modified that is older than the answer by a second; "" without either."""
    etag = headers.get("ETag", "")
    if etag:
        return etag if etag.startswith('"') else ""
    modified = _seconds(headers.get("Last-Modified", ""))
    answered = _seconds(headers.get("Date", ""))
    if modified is not None and answered is not None and answered - modified >= 1:
        return str(headers["Last-Modified"])
    return ""


def range_of(headers: Message) -> tuple[int, int | None]:
    """Where a partial answer begins, and how long the whole is if that is told; -1 if it is no range."""
    found = re.match(r"bytes (\d+)-\d+/(\d+|\*)\Z", headers.get("Content-Range", ""))
    if not found:
        return -1, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def claims_of(headers: Message, of_head: bool = False) -> tuple[Claim, ...]:
    """The checksums of a whole answer; those that cannot be read are passed over.

    `of_head`: of what GET would have brought. There a Content-Digest is that of nothing.
    """
    stated = [("md5", headers["Content-MD5"])] if "Content-MD5" in headers else []
    for name in ("Digest", "Repr-Digest", *(() if of_head else ("Content-Digest",))):
        for item in headers.get(name, "").split(",") if name in headers else ():
            kind, _, value = item.strip().partition("=")
            stated.append((kind.lower(), value.partition(";")[0].strip(":")))
    return tuple(_claims(stated))


def _claims(stated: list[tuple[str, str]]) -> Iterator[Claim]:
    for kind, value in stated:
        hash_name = HASH_NAMES.get(kind, "")
        try:
            digest = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            continue
        if len(digest) == DIGEST_BYTES.get(hash_name):
            yield Claim(hash_name, digest)


def asked_pause_s(headers: Message) -> float:
    """How long a Retry-After asks to wait; 0 without one."""
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    then = _seconds(value)
    return max(0.0, then - time.time()) if then is not None else 0.0


def _seconds(date: str) -> float | None:
    parsed = parsedate_tz(date)
    try:
        return mktime_tz(parsed) if parsed else None
    except (ValueError, OverflowError):
        return None
