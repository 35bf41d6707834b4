"""The identity of a server that shares a database with others: that of its data folder."""

import os
import re
import secrets
from pathlib import Path

from tesp_api.errors import StoreError

_NAME = "server.id"


def server_id(folder: Path) -> str:
    """The id in the folder, which the caller has locked; made if there is none yet.

    Raises:
        StoreError: what is there cannot be read or is no id, or none can be made.
    """
    file = folder / _NAME
    try:
        if not file.exists():
            _make(file)
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"the identity of this server, {file}, cannot be had: {error}") from None
    if not re.fullmatch(r"[0-9a-f]{16}", text):
        raise StoreError(
            f"the identity of this server, {file}, is damaged: it must be 16 hexadecimal digits. Remove it "
            "if no jobs run in this server's embedded Pulsar: others end them after scheduler.embedded_away_s"
        )
    return text


def _make(file: Path) -> None:
    """Whole and on the disk, before anything is stored under it."""
    draft = file.with_suffix(".new")
    with draft.open("w") as new:
        new.write(secrets.token_hex(8) + "\n")
        new.flush()
        os.fsync(new.fileno())
    draft.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
