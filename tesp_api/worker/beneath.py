"""What lies beneath a folder, reached without following any link: to open it, or to have it mounted.

As a program of its own it stands between the worker and a runtime that takes nothing but paths: in a mount
namespace that nobody else is in, it binds what was looked at to places that nobody else reaches, and becomes
the runtime, which is given these places. It can enter control groups before: a shell would lose variables
whose names are none for it. It is then the text of `python -c`, so it imports nothing of the worker.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000


def open_beneath(directory: str, below: str, flags: int) -> int:
    """Open `below` in `directory`, following no symlink; to create it, make its parents.

    Raises: OSError; ELOOP or ENOTDIR where a link was met.
    """
    parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *parts, name = below.split("/")
        for part in parts:
            if flags & os.O_CREAT:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=parent)
            inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            os.close(parent)
            parent = inner
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=parent)
    finally:
        os.close(parent)


def mount_privately(mounts: list[tuple[str, str, int, int]]) -> None:
    """In a new mount namespace, bind each source to its place: (source, place, device, inode).

    A source is opened anew, since a namespace takes only what was opened in it. Who is not root gets a user
    namespace too, as himself.

    Raises: OSError; ESTALE if a source is not the one of that device and inode.
    """
    import ctypes
    import errno

    libc = ctypes.CDLL(None, use_errno=True)

    def call(function: str, *arguments: Any) -> None:
        if getattr(libc, function)(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{function}: {os.strerror(number)}")

    user, group = os.geteuid(), os.getegid()
    call("unshare", CLONE_NEWNS | (CLONE_NEWUSER if user else 0))
    if user:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    call("mount", None, b"/", None, ctypes.c_ulong(MS_SLAVE | MS_REC), None)
    for source, place, device, inode in mounts:
        try:
            opened = open_beneath("/", source.strip("/"), os.O_PATH)
        except OSError as error:
            raise OSError(errno.ESTALE, f"{source} was replaced: {error.strerror}") from error
        status = os.fstat(opened)
        if (status.st_dev, status.st_ino) != (device, inode):
            raise OSError(errno.ESTALE, f"{source} was replaced")
        found = f"/proc/self/fd/{opened}".encode()
        call("mount", found, os.fsencode(place), None, ctypes.c_ulong(MS_BIND | MS_REC), None)
        os.close(opened)


def main(given: str, exit_code: str, *argv: str) -> None:
    """Enter groups, mount and become the program `argv`; or say why not as apptainer does, and exit.

    `given` is JSON: directories of control groups, and mounts, or null where none are wanted.
    """
    import json

    groups, mounts = json.loads(given)
    step = "enter the control group"
    try:
        for directory in groups:
            with open(f"{directory}/cgroup.procs", "w") as file:
                file.write("0")
        step = "mount what lies in a shared folder"
        if mounts is not None:
            mount_privately(mounts)
        step = f"start {argv[0]}"
        os.execvp(argv[0], argv)  # noqa: S606 - the runtime's program; no shell is wanted
    except (OSError, ImportError, AttributeError) as error:
        why = getattr(error, "strerror", None) or error
        sys.stderr.write(f"FATAL: Cannot {step}: {why}\n")
        sys.exit(int(exit_code))


if __name__ == "__main__":
    main(*sys.argv[1:])
