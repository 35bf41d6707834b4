"""A path that Pulsar's job script survives: it quotes none of its paths for the shell."""

import os
import re
import tempfile
from pathlib import Path

from tesp_api.errors import PulsarRefused
from tesp_api.pulsar.doorbell import doorbell_name

PLAIN = re.compile(r"[A-Za-z0-9_./+=:@%-]+")


def plain_path(folder: Path) -> Path:
    """The folder itself, or, if its path holds spaces or the like, a link to it that does not.

    The link has the same name at every start and stays: a job may still be on its way through it.

    Raises:
        PulsarRefused: somebody else has taken the link's name, or the temporary folder's own path
            is no better.
    """
    if PLAIN.fullmatch(str(folder)):
        return folder
    link = Path(tempfile.gettempdir()) / doorbell_name(folder)
    if not PLAIN.fullmatch(str(link)):
        raise PulsarRefused(
            f"neither {folder} nor {link} is a path that Pulsar can use: choose a plainer one"
        )
    try:
        link.symlink_to(folder)
    except FileExistsError:
        owner = link.lstat().st_uid
        if not link.is_symlink() or owner != os.getuid() or link.readlink() != folder:
            raise PulsarRefused(f"{link} is in the way: it should be a link to {folder}") from None
    return link
