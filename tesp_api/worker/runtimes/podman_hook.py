"""A hook of the container runtime below podman: sees what was mounted, before the container's program begins.

It is the text of `python -c`, so it imports nothing of the worker. A runtime runs it once all is mounted and
before it changes the root; if it fails, the program never begins.
"""

from __future__ import annotations

import json
import os
import sys


def main(expected: str, seen: str) -> None:
    """Compare each target with (device, inode); makes the file `seen` if all are as they should be.

    Raises: SystemExit.
    """
    state = json.load(sys.stdin)
    with open(os.path.join(state["bundle"], "config.json"), "rb") as file:
        root = os.path.join(state["bundle"], json.load(file)["root"]["path"])
    record = os.open(seen, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.chroot(f"/proc/{state['pid']}/root{root}")  # its links lead where they will lead in the container
    for target, identity in json.loads(expected).items():
        status = os.stat(target)
        if [status.st_dev, status.st_ino] != identity:
            sys.exit(f"What is mounted at {target} was replaced")
    os.write(record, b"as it should be")


if __name__ == "__main__":
    main(*sys.argv[1:])
