"""Logins that tasks bring along in their URLs, encrypted for the time until the task has ended.

AES-GCM with a key derived from the server's; the task's id is authenticated with them, so that nobody who can
write to the store alone can move them to a task of their own.
"""

import base64
import binascii
import json
import os
from collections.abc import Sequence
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tesp_api.errors import SealBroken
from tesp_api.storage.server_key import ServerKey
from tesp_api.tes.userinfo import UrlLogin

PURPOSE = "sealed logins"

_FORMAT = "1."
_NONCE_BYTES = 12  # Source: NIST SP 800-38D, section 8.2.2; random, so a key is good for 2**32 tasks


class Sealer:
    """Seals and opens the logins of tasks. Its methods raise `SettingsError` without a key of the server."""

    def __init__(self, key: ServerKey) -> None:
        self._server_key = key

    def seal(self, task_id: str, logins: Sequence[UrlLogin]) -> str:
        """The logins as a text that only this server can read, for this task; "" for none."""
        if not logins:
            return ""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, json.dumps(logins).encode(), task_id.encode())
        return _FORMAT + base64.b64encode(nonce + sealed).decode()

    def open(self, task_id: str, sealed: str) -> tuple[UrlLogin, ...]:
        """What was sealed for this task.

        Raises:
            SealBroken: it was sealed with another key or for another task, or has been changed.
        """
        if not sealed:
            return ()
        try:
            data = base64.b64decode(sealed.removeprefix(_FORMAT), validate=True)
            opened = self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], task_id.encode())
        except (InvalidTag, binascii.Error, ValueError):
            raise SealBroken(task_id) from None
        return tuple(UrlLogin(*login) for login in json.loads(opened))

    @cached_property
    def _cipher(self) -> AESGCM:
        return AESGCM(self._server_key.derive(PURPOSE))
