"""Opens files of a job whose maker is not trusted.

No link leads out of the job's directory, and no pipe keeps the reader waiting.
"""

import errno
import io
import os
import stat
from pathlib import Path

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_NONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


def open_regular(folder: Path, below: str) -> io.BufferedReader | None:
    """The regular file `below` a folder, open to read; None if there is none, or a link on the way to it.

    Raises:
        OSError: it is there and cannot be opened.
    """
    *parts, name = below.split("/")
    try:
        at = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                inner = os.open(part, _DIRECTORY, dir_fd=at)
                os.close(at)
                at = inner
            descriptor = os.open(name, _FILE, dir_fd=at)
        finally:
            os.close(at)
    except OSError as error:
        if error.errno in _NONE:
            return None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")
