import os
import subprocess
import sys
from pathlib import Path

import pytest

from tesp_api.errors import DataFolderInUse
from tesp_api.store.folder_lock import FolderLock


def test_one_lock_at_a_time(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    with pytest.raises(DataFolderInUse, match=str(tmp_path)):
        second.acquire()
    second.release()
    first.release()
    second.acquire()
    second.release()


def test_a_child_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.acquire()
    # close_fds=False: the file must close itself at exec.
    child = subprocess.Popen(
        [sys.executable, "-c", "print('up', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
    )
    with child:
        assert child.stdout
        assert child.stdout.readline() == b"up\n"
        lock.release()
        FolderLock(tmp_path).acquire()
        child.communicate(b"\n")
    assert child.returncode == 0


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="lock"):
        FolderLock(tmp_path / "missing").acquire()
