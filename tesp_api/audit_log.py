"""The audit log: who did what, when, from where, and what came of it; one JSON object a line.

Only what is named here gets in: no header, no query, no body, so no password and no token. Lines are appended
whole, by several processes at once if need be. The file may be moved away at any time (logrotate): the next
line begins a new one.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

from tesp_api.settings import Settings
from tesp_api.tes.times import now, rfc3339

FILE_NAME = "audit.log"

_TEXT_MAX_LENGTH = 256

_log = logging.getLogger(__name__)


class AuditLog:
    """Appends to the file that the settings name. What cannot be written is told in the server's log."""

    def __init__(self, settings: Settings) -> None:
        self.file: Path = settings.audit.file or settings.data_dir / FILE_NAME
        self._is_on = settings.audit.enabled
        self._name = str(self.file)
        self._descriptor: int | None = None
        self._inode = (0, 0)

    def write(self, **fields: Any) -> None:
        """Add a line with the time; fields that are None are left out, long texts are cut."""
        if not self._is_on:
            return
        known = {name: _cut(value) for name, value in fields.items() if value is not None}
        line = json.dumps({"time": rfc3339(now()), **known}) + "\n"
        try:
            os.write(self._opened(), line.encode())
        except OSError as error:
            self.close()
            _log.error("the audit log %s cannot be written (%s): %s", self.file, error.strerror, line.strip())

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> int:
        """A descriptor of the file that has the name now."""
        if self._descriptor is not None and not self._is_current():
            self.close()
        if self._descriptor is None:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self.file, flags, 0o600)
            opened = os.fstat(self._descriptor)
            if not opened.st_size:
                self._give_to_owner_of_folder(self._descriptor)
            self._inode = (opened.st_dev, opened.st_ino)
        return self._descriptor

    def _give_to_owner_of_folder(self, descriptor: int) -> None:
        """Else root, who adds users, would lock the server out of its own log."""
        owner = self.file.parent.stat()
        if os.geteuid() == 0 and owner.st_uid != 0:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)

    def _is_current(self) -> bool:
        try:
            there = os.stat(self._name)  # noqa: PTH116 (at each line: a Path would cost more than the look)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == self._inode


def _cut(value: Any) -> Any:
    return value[:_TEXT_MAX_LENGTH] if isinstance(value, str) else value
