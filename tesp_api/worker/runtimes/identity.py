"""Which user a container runs as, where that is not for its image to say."""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import Callable, Mapping

from .base import Run


def user_of(
    run: Run, is_root_ours: Callable[[], bool], opened: Mapping[str, int] = MappingProxyType({})
) -> str | None:
    """ "UID:GID" for the container's processes; None leaves it to the image.

    By "auto", what writes into shared folders of the site does so as the worker's user, so that no file there
    belongs to root: as the folder's owner, if the worker is root. `is_root_ours` says whether the container's
    root is the worker's own user anyhow; it is asked only where that matters. `opened` are descriptors of
    what is mounted, by target, where there are some.
    """
    user = run.confinement.user
    if user != "auto":
        return None if user == "image" else user
    shared = [bind for bind in run.binds if bind.is_shared and bind.writable]
    if not shared or is_root_ours():
        return None
    if os.geteuid() != 0:
        return f"{os.geteuid()}:{os.getegid()}"
    owner = os.stat(opened.get(shared[0].target, shared[0].source))
    return f"{owner.st_uid}:{owner.st_gid}" if owner.st_uid else None
