"""Page tokens: the id of the last task shown, wrapped so that nobody builds upon what is inside.

Bytes, in base64url without padding: version (1), CRC-32 of the id (4), the id. The checksum is there to
tell a token from garbage; it keeps nothing secret.
"""

import base64
import binascii
import re
import zlib

from tesp_api.errors import Fault, InvalidRequest

_VERSION = b"\x01"
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def token_after(task_id: str) -> str:
    """The token for the page that follows the task `task_id`."""
    key = task_id.encode()
    token = _VERSION + zlib.crc32(key).to_bytes(4) + key
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def task_id_in(token: str) -> str:
    """The id of the task after which the page of `token` begins.

    Raises:
        InvalidRequest: `token` was not made by `token_after`, or of what is no id of a task.
    """
    try:
        packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        task_id = packed[5:].decode()
    except (ValueError, binascii.Error):
        raise _not_a_token() from None
    if token_after(task_id) != token or not _ID.fullmatch(task_id):
        raise _not_a_token()
    return task_id


def _not_a_token() -> InvalidRequest:
    return InvalidRequest(
        [Fault("page_token", "is not a token of this server; use next_page_token of the last answer")]
    )
