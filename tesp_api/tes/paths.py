"""Paths inside a task's containers: how they compare, and what is wrong with one.

The stored task keeps every path as the client wrote it; whoever compares two paths normalizes them.
"""

import posixpath
import re
from collections.abc import Iterator

NULL_DEVICE = "/dev/null"

_RESERVED = ("/proc", "/sys", "/dev")
_WILDCARDS = frozenset("*?[")
_PATH_MAX_BYTES = 4095
_NAME_MAX_BYTES = 255
_CHARACTER_MAX_BYTES = 4
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def normal_path(path: str) -> str:
    """An absolute path without `.`, empty components and trailing slash; `/` stays `/`."""
    return "/" + posixpath.normpath(path).lstrip("/")


def ancestors(path: str) -> Iterator[str]:
    """All directories above a normalized path, nearest first, without `/`."""
    while (path := posixpath.dirname(path)) != "/":
        yield path


def has_control_characters(text: str) -> bool:
    """Whether there is any of ASCII's control characters in a path or URL."""
    return _CONTROL.search(text) is not None


def has_wildcards(path: str) -> bool:
    """Whether an output's path is a pattern. Source: POSIX 2017, volume 3, section 2.13."""
    return not _WILDCARDS.isdisjoint(path)


def fixed_directory(pattern: str) -> str:
    """The directory below which everything lies that the pattern can match, normalized."""
    parts = pattern.split("/")
    fixed = next((at for at, part in enumerate(parts) if has_wildcards(part)), len(parts) - 1)
    return normal_path("/".join(parts[:fixed]) or "/")


def is_within(path: str, directory: str) -> bool:
    """Whether a normalized path is `directory` (normalized too) or lies below it."""
    return path == directory or directory == "/" or path.startswith(directory + "/")


def path_fault(path: str) -> str | None:
    """What keeps `path` from being an absolute path in a container; None if nothing does."""
    if not path:
        return "is empty: give an absolute path inside the container"
    if not path.startswith("/"):
        return "must be an absolute path inside the container, beginning with /"
    if has_control_characters(path):
        return "contains control characters"
    parts = path.split("/")
    if ".." in parts:
        return "must not contain .. components: write the path that is meant"
    if len(path) * _CHARACTER_MAX_BYTES > _NAME_MAX_BYTES and (
        _bytes(path) > _PATH_MAX_BYTES or max(map(_bytes, parts)) > _NAME_MAX_BYTES
    ):
        return f"is too long: at most {_PATH_MAX_BYTES} bytes, {_NAME_MAX_BYTES} between two slashes"
    return None


def place_fault(path: str) -> str | None:
    """What keeps `path` from being a place where the server puts or takes things; None if nothing does."""
    if fault := path_fault(path):
        return fault
    normal = normal_path(path)
    if normal == "/":
        return "must not be the container's root directory: choose a directory below it"
    for reserved in _RESERVED:
        if is_within(normal, reserved):
            return f"must not lie in {reserved}, which the container needs for itself"
    return None


def stream_fault(path: str) -> str | None:
    """Like `place_fault`, for stdin, stdout and stderr, which may also be /dev/null."""
    return None if path == NULL_DEVICE else place_fault(path)


def _bytes(text: str) -> int:
    return len(text.encode(errors="replace"))
