"""Ownership: taking over the files that a container's root user left to a worker that is not root."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from typing import Iterator

from .errors import SystemFailure
from .process import run_command

HELPER_IMAGE = "tesp-helper:1"
HOST_DIRECTORIES = ("/usr", "/bin", "/lib", "/lib64")


def is_needed(tree: str) -> bool:
    """Whether anything below `tree` belongs to another user."""
    us = os.geteuid()
    return any(status.st_uid != us for _, status in _walk(tree))


def reclaim_by_docker(program: str, tree: str) -> None:
    """Let a container without network give everything below `tree` to this user, if anything is another's.

    The container has the host's own programs, read-only, and nothing but them and the tree: an
    image that is made here once, so none need be pulled.

    Raises: SystemFailure.
    """
    if os.geteuid() == 0:
        return
    make_readable(tree)  # first, or what lies in a closed directory would not be seen
    if is_needed(tree):
        owner = "0:0" if is_rootless(program) else f"{os.geteuid()}:{os.getegid()}"
        make_helper_image(program)
        reclaim_by_command([program, *helper_arguments(tree, owner)])
        make_readable(tree)


def make_helper_image(program: str) -> None:
    """See that there is an image for containers with the host's own programs. Raises: SystemFailure."""
    if run_command([program, "image", "inspect", HELPER_IMAGE])[0] != 0:
        code, text = run_command([program, "import", "-", HELPER_IMAGE], given=helper_root())
        if code != 0:
            raise SystemFailure(f"Cannot make the image {HELPER_IMAGE}: {text[-300:]}")


def helper_mounts() -> list[str]:
    """The options of `docker run` that give it those programs."""
    directories = [path for path in HOST_DIRECTORIES if os.path.isdir(path) and not os.path.islink(path)]
    return [f"--mount=type=bind,source={path},target={path},readonly" for path in directories]


def helper_arguments(tree: str, owner: str) -> list[str]:
    """The arguments of `docker run` for the helper."""
    escaped = '"source=' + tree.replace('"', '""') + '"'
    return [
        "run",
        "--rm",
        "--network=none",
        "--user=0",
        "--log-driver=none",
        *helper_mounts(),
        f"--mount=type=bind,{escaped},target=/tree",
        HELPER_IMAGE,
        "/usr/bin/chown",
        "-R",
        "-h",
        owner,
        "/tree",
    ]


def helper_root() -> bytes:
    """A tar file with nothing but the host's links for /bin and /lib* and empty mount points."""
    import tarfile

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for path in (*HOST_DIRECTORIES, "/tree"):
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.mode = 0o755
            entry.type = tarfile.DIRTYPE
            if os.path.islink(path):
                entry.type = tarfile.SYMTYPE
                entry.linkname = os.readlink(path)
            tar.addfile(entry)
    return file.getvalue()


def reclaim_by_command(argv: list[str]) -> None:
    """Raises: SystemFailure if the command fails."""
    code, text = run_command(argv)
    if code != 0:
        raise SystemFailure(f"Cannot take over files that a container left: {text[-500:]}")


def make_readable(tree: str) -> None:
    """Open to ourselves what we own but may not read."""
    us = os.geteuid()
    for path, status in _walk(tree):
        wanted = 0o700 if stat.S_ISDIR(status.st_mode) else 0o400
        if status.st_uid == us and not stat.S_ISLNK(status.st_mode) and status.st_mode & wanted != wanted:
            with contextlib.suppress(OSError):
                os.chmod(path, stat.S_IMODE(status.st_mode) | wanted)


def _walk(tree: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every entry with its status, a directory before its content, so it can be opened on the way."""
    try:
        status = os.lstat(tree)
    except OSError:
        return
    yield tree, status
    if stat.S_ISDIR(status.st_mode):
        with contextlib.suppress(OSError):
            for name in os.listdir(tree):
                yield from _walk(os.path.join(tree, name))


def is_rootless(program: str) -> bool:
    """Whether a Docker daemon is an ordinary user's, whom it takes for the root of its containers."""
    return "name=rootless" in security_options(program)


def security_options(program: str) -> str:
    """What a Docker daemon says of how it confines containers."""
    return run_command([program, "info", "--format", "{{.SecurityOptions}}"])[1]
