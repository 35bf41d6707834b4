"""Staging in: the task's directories and inputs, and its images meanwhile."""

from __future__ import annotations

import os
from typing import Callable

from .attempt import Attempt
from .errors import StagingError, SystemFailure
from .job import make_directories, write_all
from .mounts import TMP, Bind, MountPlan, mirrored
from .order import Input, Order
from .parallel import Background, run_together
from .runtimes.base import Runtime
from .transfer import Site, transfer_for
from .transfer.roots import resolve_in_roots
from .urls import scheme_of, shown


def rooted_binds(order: Order) -> list[Bind]:
    """The inputs that are mounted from where they lie, as their file root's `mount` says.

    Raises: StagingError for a file outside of the roots, or one that is not there.
    """
    binds = []
    for item in order.inputs:
        if item.content is None and scheme_of(item.url) in ("", "file"):
            path, root = resolve_in_roots(item.url, order.site.file_roots)
            if root.mount != "copy":
                if not (os.path.isfile(path) if item.type == "FILE" else os.path.isdir(path)):
                    wrong = "this is no" if os.path.exists(path) else "there is no such"
                    raise StagingError(f"{shown(item.url)}: {wrong} {item.type} (the input's type)")
                binds.append(Bind(item.path, path, root.mount == "rw", item.type == "FILE"))
    return binds


def stage_in(attempt: Attempt) -> None:
    """Make the directories, fetch the inputs and check the images, all at once as far as they allow it.

    Raises: StagingError, SystemFailure, Canceled.
    """
    images = Background(lambda: _check_images(attempt.order, attempt.runtime, attempt))
    make_mount_points(attempt.plan, attempt.job.tree)
    rooted = {
        bind.target for bind in attempt.plan.binds if not bind.source.startswith(attempt.job.tree + "/")
    }
    inputs = [item for item in attempt.order.inputs if item.path not in rooted]
    remote = [item for item in inputs if item.content is None and scheme_of(item.url) not in ("", "file")]
    for item in inputs:
        if item not in remote:
            _stage(item, attempt.job.tree, attempt.transfers)

    def call(item: Input) -> Callable[[], None]:
        return lambda: _stage(item, attempt.job.tree, attempt.transfers)

    run_together([call(item) for item in remote], attempt.cancellation)
    images.join(attempt.cancellation)


def make_mount_points(plan: MountPlan, tree: str) -> None:
    """Make the plan's directories in the tree, and something to mount over for what is nested in them."""
    for path in plan.directories:
        make_directories(mirrored(tree, path))
    os.chmod(mirrored(tree, TMP), 0o1777)  # noqa: S103
    for bind in plan.binds:
        place = mirrored(tree, bind.target)
        if bind.source == place:
            continue
        if bind.is_file:
            make_directories(os.path.dirname(place))
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
        else:
            make_directories(place)


def _stage(item: Input, tree: str, site: Site) -> None:
    site.cancellation.check()
    place = mirrored(tree, item.path)
    make_directories(os.path.dirname(place))
    try:
        if item.content is not None:
            _write_content(place, item.content)
        elif item.type == "DIRECTORY":
            make_directories(place)
            transfer_for(item.url).fetch_directory(item.url, place, site)
        else:
            transfer_for(item.url).fetch_file(item.url, place, site)
    except OSError as error:
        raise StagingError(f"Cannot store the input {item.path}: {error.strerror}") from error


def _write_content(place: str, content: str) -> None:
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        write_all(descriptor, content.encode("utf-8", "surrogatepass"))
        os.fchmod(descriptor, 0o666)
    finally:
        os.close(descriptor)


def _check_images(order: Order, runtime: Runtime, attempt: Attempt) -> None:
    for image in dict.fromkeys(item.image for item in order.executors):
        attempt.cancellation.check()
        runtime.check_image(image, attempt.cancellation)


def check_disk(order: Order, path: str) -> str | None:
    """A line for `system_logs` if there is less room than the task asked for."""
    wanted = order.resources.disk_gb
    try:
        status = os.statvfs(path)
    except OSError as error:
        raise SystemFailure(f"Cannot look at {path}: {error.strerror}") from error
    free = status.f_bavail * status.f_frsize
    if wanted and free < wanted * 1e9:
        return f"The task asks for disk_gb {wanted:g}; {free / 1e9:.1f} GB are free at the site"
    return None
