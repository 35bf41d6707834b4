"""The header `Idempotency-Key`: a client that timed out may send its request again, and gets the same task,
or the same run.

Source: the IETF draft draft-ietf-httpapi-idempotency-key-header, whose quotes are optional here.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, BinaryIO

from starlette.datastructures import Headers

from tesp_api.errors import Fault, InvalidRequest
from tesp_api.store.base import OnceKey
from tesp_api.tes.webhook_parameters import OwnWebhook

HEADER = "Idempotency-Key"
MAX_LENGTH = 255
_PIECE_BYTES = 1024**2
PATTERN = r"^[!-~]+$"
"""What a key is made of: the visible characters of ASCII. So no key of ours with a space is a client's."""


def read_key(headers: Headers) -> str | None:
    """The request's key without quotes around it; None if it has none.

    Raises:
        InvalidRequest: there are several, or it is empty, too long, or has other characters.
    """
    given = headers.getlist(HEADER)
    if not given:
        return None
    key = given[0]
    if len(key) > 1 and key.startswith('"') and key.endswith('"'):
        key = key[1:-1]
    if len(given) > 1:
        raise InvalidRequest([Fault(HEADER, "is there several times: send one")])
    if not 0 < len(key) <= MAX_LENGTH or not all("!" <= sign <= "~" for sign in key):
        raise InvalidRequest(
            [Fault(HEADER, f"must have 1 to {MAX_LENGTH} characters of visible ASCII, without spaces")]
        )
    return key


def once_key(key: str, document: Mapping[str, Any], webhook: OwnWebhook | None = None) -> OnceKey:
    """The key with what tells one task from another: the task as it is stored, however it was written.

    Its webhook is no part of what is stored, and tells them apart, too.
    """
    told = hashlib.sha256(_plain(document))
    if webhook is not None:
        told.update(_plain([webhook.url, webhook.secret, sorted(webhook.states)]))
    return OnceKey(key, told.hexdigest())


def once_key_of_run(key: str, document: Mapping[str, Any], attached: Mapping[str, BinaryIO]) -> OnceKey:
    """The key with what tells one run from another: its request, and what is in each attached file.

    Reads the files to their ends, and leaves them at their beginnings.
    """
    told = hashlib.sha256(_plain(document))
    for name, file in sorted(attached.items()):
        content = hashlib.sha256()
        while piece := file.read(_PIECE_BYTES):
            content.update(piece)
        file.seek(0)
        told.update(_plain([name, content.hexdigest()]))
    return OnceKey(key, told.hexdigest())


def _plain(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
