"""A small disk that can be filled: a file system in memory, mounted below a folder of its own. Takes root."""

import contextlib
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

_PIECE_BYTES = 64 * 1024


class SmallDisk:
    """`with SmallDisk(folder, size_bytes) as disk:` mounts it at `folder`, which is made."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder = folder
        self._size_bytes = size_bytes
        self._ballast = folder / ".ballast"

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Leave no room for anything, or for so much."""
        self.free()
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while _free_bytes(self.folder) > leave_bytes:
                file.write(bytes(min(_PIECE_BYTES, max(4096, _free_bytes(self.folder) - leave_bytes))))

    def free(self) -> None:
        """Take what `fill` has put there away."""
        self._ballast.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        options = f"size={self._size_bytes},mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder], check=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
