"""The server's key in backups: without it, what is sealed in the database cannot be read any more."""

import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tesp_api.settings import Settings
from tesp_api.storage.server_key import FILE_NAME, ServerKey
from tesp_api.store.file_swap import keep_aside, new_file, sync_folder


def key_of_folder(settings: Settings) -> dict[str, bytes]:
    """The key in the data folder, by its file's name; nothing where the settings name the key.

    Raises:
        SettingsError: it is damaged.
        OSError: it cannot be read.
    """
    key = ServerKey(settings)
    if key.is_in_settings or not key.file.exists():
        return {}
    key.check()
    return {FILE_NAME: key.file.read_bytes()}


def key_check(settings: Settings) -> str:
    """What tells whether two keys are the same, and says nothing else of them; "" where there is none yet."""
    key = ServerKey(settings)
    return key.derive("backups").hex()[:32] if key.is_in_settings or key.file.exists() else ""


def warn_of_no_key(settings: Settings) -> list[str]:
    """What its operator should know, where a backup has no key and the settings name none either."""
    key = ServerKey(settings)
    if key.is_in_settings or key.file.exists():
        return []
    return [
        f"there is no key in {key.file}, nor in the settings, so the backup has none: if the server has one, "
        "this is not its data folder, or these are not its settings"
    ]


def put_key_back(settings: Settings, key: bytes, aside: Path) -> None:
    """Put the key of a backup into the data folder, unless the settings name one; the old one is kept."""
    file = settings.data_dir / FILE_NAME
    if not key or ServerKey(settings).is_in_settings or (file.exists() and file.read_bytes() == key):
        return
    draft = file.with_name(f"{FILE_NAME}.restoring")
    draft.unlink(missing_ok=True)
    with new_file(draft) as made:
        made.write(key)
    keep_aside(file, aside)
    draft.replace(file)
    sync_folder(settings.data_dir)


def warn_of_key(settings: Settings, header: Mapping[str, Any]) -> list[str]:
    """What its operator should know, where the server's key is not the one of the backup any more."""
    then = str(header.get("key_check", ""))
    if not then or hmac.compare_digest(then, key_check(settings)):
        return []
    return [
        "the server's key is not that of the backup: set secret_key to that one before the start, or logins "
        "that came in tasks' URLs, and secrets of their webhooks, cannot be read"
    ]
