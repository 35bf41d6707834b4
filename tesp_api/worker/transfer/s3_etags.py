"""ETags of S3, and when they are what they seem: the MD5 of what was stored at once, unless with keys.

Source: Amazon S3, "Checking object integrity" and "Common response headers".
"""

from __future__ import annotations

import base64
import binascii
import re
from email.message import Message

from . import statements
from .moving import Claim, new_hash
from .retry import Passing

_CHECKSUMS = {"x-amz-checksum-sha256": "sha256", "x-amz-checksum-sha1": "sha1"}


def etag_of(headers: Message) -> str:
    """Without its quotation marks."""
    return headers.get("ETag", "").strip('"')


def is_md5(headers: Message) -> bool:
    """No, for what came in parts, or is encrypted with keys that are the customer's."""
    if headers.get("x-amz-server-side-encryption", "AES256") != "AES256":
        return False
    if any(name.lower().startswith("x-amz-server-side-encryption-") for name in headers):
        return False
    return re.fullmatch(r"[0-9a-f]{32}", etag_of(headers).lower()) is not None


def claims_of(headers: Message) -> tuple[Claim, ...]:
    """The checksums of a whole object; one of checksums of its parts (`-3`) is none."""
    claims = dict(statements.claims_of(headers))
    if is_md5(headers):
        claims["md5"] = bytes.fromhex(etag_of(headers))
    if headers.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT":
        for name, hash_name in _CHECKSUMS.items():
            try:
                digest = base64.b64decode(headers.get(name, ""), validate=True)
            except (binascii.Error, ValueError):
                continue
            if len(digest) == new_hash(hash_name).digest_size:
                claims[hash_name] = digest
    return tuple(Claim(*item) for item in claims.items())


def check_etag(headers: Message, md5: bytes) -> None:
    """Raises: Passing if S3 has received something else."""
    if is_md5(headers) and etag_of(headers).lower() != md5.hex():
        raise Passing(f"the server has stored something else: its MD5 is {etag_of(headers)}, not {md5.hex()}")


def etag_of_parts(md5s: list[bytes]) -> str:
    """What S3 calls an object that came in parts."""
    digest = new_hash("md5")
    digest.update(b"".join(md5s))
    return f"{digest.hexdigest()}-{len(md5s)}"
