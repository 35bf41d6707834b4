"""The server's key: the one secret from which all others of the server are derived."""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from functools import cached_property
from pathlib import Path

from tesp_api.errors import SettingsError
from tesp_api.settings import Settings

FILE_NAME = "secret.key"

_KEY_BYTES = 32
_FILE_MAX_BYTES = 4096


class ServerKey:
    """`settings.secret_key`, else a key in the data folder, which is made when it is first needed.

    All methods raise `SettingsError` for a key in the data folder that cannot be read or made.
    """

    def __init__(self, settings: Settings) -> None:
        self._given = settings.secret_key
        self.file = settings.data_dir / FILE_NAME

    @property
    def is_in_settings(self) -> bool:
        """Whether the settings name it; else it is in `file`, or will be."""
        return self._given is not None

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose, from which neither the key nor those of other purposes follow.

        Source: RFC 5869, with the purpose as `info` and a hash for one block of output.
        """
        return hmac.digest(self._root, b"tesp " + purpose.encode() + b"\x01", hashlib.sha256)

    def check(self) -> None:
        """Return if there is a key or one could be made; makes none."""
        if not self.is_in_settings and self.file.exists():
            _read(self.file)

    @cached_property
    def _root(self) -> bytes:
        if self._given is not None:
            secret = self._given.get_secret_value().encode()
        else:
            secret = _read_or_make(self.file)
        return hmac.digest(b"tesp server key", secret, hashlib.sha256)


def _read_or_make(file: Path) -> bytes:
    """The key in `file`. Several processes that make it at once agree: one links its own, the others read."""
    try:
        if not file.exists():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(file)
    except OSError as error:
        raise SettingsError(
            f"the server's key {file} cannot be made: {error.strerror}; make its folder writable, "
            "or set secret_key"
        ) from None
    return _read(file)


def _make(file: Path) -> None:
    """Link a new key to `file`, whole and on the disk, unless there is one by then."""
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as new:
            new.write(secrets.token_hex(_KEY_BYTES) + "\n")
            new.flush()
            os.fsync(new.fileno())
        with contextlib.suppress(FileExistsError):
            file.hardlink_to(temporary)
    finally:
        temporary.unlink()
    folder = os.open(file.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            key = opened.read(_FILE_MAX_BYTES).strip()
    except OSError as error:
        raise SettingsError(f"the server's key {file} cannot be read: {error.strerror}") from None
    if not re.fullmatch(rb"[0-9a-f]{64}", key):
        raise SettingsError(
            f"the server's key {file} is damaged: it must be 64 hexadecimal digits. Put the right one back, "
            "or remove the file: what was sealed with the old key is lost then, and running jobs lose "
            "their work orders"
        )
    return key
