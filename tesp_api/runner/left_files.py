"""What a container's root left in a job's directory when its worker was killed with all that watches it."""

import logging
import os
import shutil
from pathlib import Path

from tesp_api.worker import ownership
from tesp_api.worker.errors import SystemFailure

log = logging.getLogger(__name__)


def take_over(folder: Path) -> None:
    """Make this process's user the owner of all below, by Docker or podman; does nothing where it is already.

    A worker does so at its end. What fails is logged.
    """
    tree = str(folder)
    for name in ("docker", "podman"):
        program = shutil.which(name)
        if program is None or os.geteuid() == 0 or not ownership.is_needed(tree):
            continue
        try:
            if name == "docker":
                ownership.reclaim_by_docker(program, tree)
            else:
                ownership.reclaim_by_command([program, "unshare", "chown", "-R", "-h", "0:0", "--", tree])
                ownership.make_readable(tree)
        except SystemFailure as exc:
            log.warning("cannot take over what a container left in %s by %s: %s", folder, name, exc)
