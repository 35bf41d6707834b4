"""File roots: the directories of the site that `file://` URLs may reach."""

from __future__ import annotations

import os

from ..errors import StagingError
from ..mounts import is_below
from ..order import FileRoot
from ..urls import local_path, shown


def resolve_in_roots(url: str, roots: tuple[FileRoot, ...]) -> tuple[str, FileRoot]:
    """The real path that a URL names, and the innermost root that holds it; the path need not exist.

    Raises: StagingError if it lies in no root once all links are followed.
    """
    path = os.path.realpath(local_path(url))
    root = root_of(path, roots)
    if root is None:
        allowed = ", ".join(item.path for item in roots) or "none"
        raise StagingError(
            f"{shown(url)} lies outside the directories that file:// URLs may reach here"
            f" (allowed: {allowed}; set by `file_roots`)"
        )
    return path, root


def root_of(real_path: str, roots: tuple[FileRoot, ...]) -> FileRoot | None:
    """The innermost root that holds a path whose links were all followed; None if there is none."""
    holding = [root for root in roots if is_below(real_path, os.path.realpath(root.path))]
    return max(holding, key=lambda root: len(os.path.realpath(root.path)), default=None)
