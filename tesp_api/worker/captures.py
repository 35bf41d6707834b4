"""Captures: outputs that an executor wrote into system directories, fetched from its stopped container."""

from __future__ import annotations

import os

from .attempt import Attempt
from .job import make_directories
from .mounts import Bind, mirrored
from .removal import remove_tree
from .runtimes.base import Run


def fetch(attempt: Attempt, run: Run) -> None:
    """Copy what is to be captured into the tree, where later executors and the outputs see it.

    A later executor's file replaces an earlier one's. A captured file is mounted into later
    executors; a captured directory is not, since it may hold parts of the image.
    """
    mounted = {bind.target for bind in run.binds}
    for path in attempt.plan.captures:
        if path not in mounted:
            _fetch_one(attempt, run, path)
    if attempt.plan.capture_patterns:
        from .wildcards import compile_path  # few tasks have any

        patterns = [compile_path(pattern) for pattern in attempt.plan.capture_patterns]
        for path in attempt.runtime.new_files(run):
            if path not in mounted and any(pattern.match(path) for pattern in patterns):
                _fetch_one(attempt, run, path)


def _fetch_one(attempt: Attempt, run: Run, path: str) -> None:
    place = mirrored(attempt.job.tree, path)
    make_directories(os.path.dirname(place))
    if os.path.isdir(place) and not os.path.islink(place):
        remove_tree(place)  # or the copy would land inside of what an earlier executor left
    if not attempt.runtime.capture(run, path, place):
        return
    is_file = os.path.isfile(place) and not os.path.islink(place)
    if attempt.view.bind_of(path) is None:
        attempt.view.binds.append(Bind(path, place, is_file=is_file, is_mounted=is_file))
