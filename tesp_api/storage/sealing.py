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
    """Seals and opens the logins of tasks, or with another `purpose` other texts.

    Its methods raise `SettingsError` without a key of the server.
    """

    def __init__(self, key: ServerKey, purpose: str = PURPOSE) -> None:
        self._server_key = key
        self._purpose = purpose

    def seal(self, task_id: str, logins: Sequence[UrlLogin]) -> str:
        """The logins as a text that only this server can read, for this task; "" for none."""
        return self.seal_text(task_id, json.dumps(logins)) if logins else ""

    def open(self, task_id: str, sealed: str) -> tuple[UrlLogin, ...]:
        """What was sealed for this task.

        Raises:
            SealBroken: it was sealed with another key or for another task, or has been changed.
        """
        if not sealed:
            return ()
        return tuple(UrlLogin(*login) for login in json.loads(self.open_text(task_id, sealed)))

    def seal_text(self, task_id: str, text: str) -> str:
        """The text as one that only this server can read, for this task."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode(), task_id.encode())
        return _FORMAT + base64.b64encode(nonce + sealed).decode()

    def open_text(self, task_id: str, sealed: str) -> str:
        """What was sealed for this task.

        Raises:
            SealBroken: as `open`.
        """
        try:
            data = base64.b64decode(sealed.removeprefix(_FORMAT), validate=True)
            opened = self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], task_id.encode())
        except (InvalidTag, binascii.Error, ValueError):
            raise SealBroken(task_id) from None
        return opened.decode()

    @cached_property
    def _cipher(self) -> AESGCM:
        return AESGCM(self._server_key.derive(self._purpose))
