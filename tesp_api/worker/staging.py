"""Staging in: the task's directories and inputs, and its images meanwhile."""

from __future__ import annotations

import os
import posixpath
from typing import Any, Callable, Dict

from .attempt import Attempt
from .errors import StagingError, SystemFailure
from .job import make_directories, write_all
from .mounts import TMP, Bind, MountPlan, mirrored
from .order import Input, Order
from .parallel import Background, run_together
from .progress import Progress, Tally
from .runtimes.base import Run, Runtime
from .transfer import Moved, Site, close_connections, transfer_for
from .urls import extend, scheme_of, shown

Fetch = Callable[[Input, str, Site], Dict[str, Moved]]
"""Brings an input to a place; returns its files by relative name, "" being the input itself."""


def rooted_binds(order: Order) -> list[Bind]:
    """The inputs that are mounted from where they lie, as their file root's `mount` says.

    Raises: StagingError for a file outside of the roots, or one that is not there.
    """
    binds = []
    for item in order.inputs:
        is_copied = item.content is not None or item.path in order.resources.copied_inputs
        if not is_copied and scheme_of(item.url) in ("", "file"):
            from .transfer.roots import resolve_in_roots  # many sites have none

            path, root = resolve_in_roots(item.url, order.site.file_roots)
            if root.mount != "copy":
                if not (os.path.isfile(path) if item.type == "FILE" else os.path.isdir(path)):
                    wrong = "this is no" if os.path.exists(path) else "there is no such"
                    raise StagingError(f"{shown(item.url)}: {wrong} {item.type} (the input's type)")
                binds.append(Bind(item.path, path, root.mount == "rw", item.type == "FILE", is_shared=True))
    return binds


def settle_rooted(
    order: Order, runtime: Runtime, trial: Run, say: Callable[[str], None]
) -> tuple[Order, list[Bind]]:
    """The binds of `rooted_binds` that the runtime can mount, and the order with all others as copied inputs.

    Raises: StagingError; SystemFailure for what cannot be mounted and that the task may write to.
    """
    binds, copied = [], list(order.resources.copied_inputs)
    for bind in rooted_binds(order):
        reason = runtime.why_not_mounted(bind, trial)
        if reason is None:
            binds.append(bind)
        elif bind.writable and os.access(bind.source, os.W_OK):
            raise SystemFailure(
                f"The input {bind.target} cannot be mounted. {reason}."
                f"{' Give its directory as the input.' if bind.is_file else ''}"
                " Name it in the backend parameter copied_inputs, or set the `mount` of its file root to copy"
            )
        else:
            say(f"The input {bind.target} is copied rather than mounted. {reason}")
            copied.append(bind.target)
    return order._replace(resources=order.resources._replace(copied_inputs=tuple(copied))), binds


def stage_in(attempt: Attempt) -> None:
    """Make the directories, fetch the inputs and check the images, all at once as far as they allow it.

    Raises: StagingError, SystemFailure, Canceled.
    """
    images = Background(lambda: _check_images(attempt.order, attempt.runtime, attempt))
    make_mount_points(attempt.plan, attempt.job.tree)
    rooted = {
        bind.target: bind.source
        for bind in attempt.plan.binds
        if not bind.source.startswith(attempt.job.tree + "/")
    }
    entries: dict[str, list[dict[str, Any]]] = {item.path: [] for item in attempt.order.inputs}
    take = _taking(attempt)
    progress = Progress(attempt.record.event)

    def call(item: Input, fetch: Fetch) -> Callable[[], None]:
        return lambda: entries[item.path].extend(_stage(item, attempt, progress, fetch))

    remote = []
    try:
        for number, item in enumerate(attempt.order.inputs):
            if item.path in rooted:
                entries[item.path] += _mounted(item, rooted[item.path])
            elif is_remote(item):
                remote.append(call(item, take(number) if take else _fetch))
            else:
                call(item, _fetch)()
        run_together(remote, attempt.cancellation, attempt.order.site.transfers.at_once)
    finally:
        progress.close()
        close_connections()
        attempt.result.inputs = [entry for path in list(entries) for entry in entries[path]]
    images.join(attempt.cancellation)


def is_remote(item: Input) -> bool:
    """Whether the input comes from elsewhere."""
    return item.content is None and scheme_of(item.url) not in ("", "file")


def _taking(attempt: Attempt) -> Callable[[int], Fetch] | None:
    """How to take what the gateway has brought for the input of a number; None without a gateway."""
    if not attempt.order.site.has_gateway or not any(is_remote(item) for item in attempt.order.inputs):
        return None
    from .gateway import Brought

    brought = Brought(attempt)
    return lambda number: lambda item, place, _: brought.take(number, item.path, place)


def _fetch(item: Input, place: str, site: Site) -> dict[str, Moved]:
    transfer = transfer_for(item.url)
    if item.type == "DIRECTORY":
        return transfer.fetch_directory(item.url, place, site)
    return {"": transfer.fetch_file(item.url, place, site)}


def _mounted(item: Input, source: str) -> list[dict[str, Any]]:
    """An input that stays where it lies is not read, so it has no checksum."""
    if item.type != "FILE":
        return []
    return [{"path": item.path, "url": shown(item.url), "size_bytes": os.stat(source).st_size}]


def make_mount_points(plan: MountPlan, tree: str) -> None:
    """Make the plan's directories in the tree, and something to mount over for what is nested in them."""
    for path in plan.directories:
        make_directories(mirrored(tree, path))
    os.chmod(mirrored(tree, TMP), 0o1777)  # noqa: S103 - as every /tmp; above it is the job's directory, which is its owner's alone
    for bind in plan.binds:
        place = mirrored(tree, bind.target)
        if bind.source == place:
            continue
        if bind.is_file:
            make_directories(os.path.dirname(place))
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
        else:
            make_directories(place)


def _stage(item: Input, attempt: Attempt, progress: Progress, fetch: Fetch) -> list[dict[str, Any]]:
    """Bring one input to its place; its files as result.json names them."""
    attempt.cancellation.check()
    place = mirrored(attempt.job.tree, item.path)
    make_directories(os.path.dirname(place))
    try:
        if item.content is not None:
            return [{"path": item.path, **_write_content(place, item.content)._asdict()}]
        if item.type == "DIRECTORY":
            make_directories(place)
        count = 1 if item.type == "FILE" else None
        with progress.watch(Tally(count, direction="input", url=shown(item.url), path=item.path)) as tally:
            below = fetch(item, place, attempt.transfers._replace(progress=tally))
    except OSError as error:
        raise StagingError(f"Cannot store the input {item.path}: {error.strerror}") from error
    return [
        {
            "path": posixpath.join(item.path, name) if name else item.path,
            "url": shown(extend(item.url, name) if name else item.url),
            **moved._asdict(),
        }
        for name, moved in below.items()
    ]


def _write_content(place: str, content: str) -> Moved:
    """A script that names its interpreter can be run."""
    import hashlib  # three milliseconds, which a task without content is spared

    data = content.encode("utf-8", "surrogatepass")
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        write_all(descriptor, data)
        os.fchmod(descriptor, 0o777 if data.startswith(b"#!") else 0o666)
    finally:
        os.close(descriptor)
    return Moved(len(data), hashlib.sha256(data).hexdigest())


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
