"""Which images a destination takes: pure functions of their names."""

import re
from collections.abc import Sequence
from functools import cache

_DOCKER_HUB = "docker.io"


def is_allowed(image: str, patterns: Sequence[str]) -> bool:
    """Whether an image is among those that the patterns allow; without any pattern all are.

    `*` stands for any signs but a slash, `**` for any signs. A pattern is good for the image's name as the
    task has it, and for its full name: "alpine" is "docker.io/library/alpine:latest" too.
    """
    if not patterns:
        return True
    if ".." in image.split("/"):  # of images that are files
        return False
    names = {image, full_name(image)}
    return any(_compiled(pattern).fullmatch(name) for pattern in patterns for name in names)


def full_name(image: str) -> str:
    """A Docker image's name with its registry and its tag; what is no such name stays as it is."""
    name = image.removeprefix("docker://")
    if "://" in name or name.startswith("/"):
        return image
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"{_DOCKER_HUB}/library/{name}"
    elif not ("." in first or ":" in first or first == "localhost"):
        name = f"{_DOCKER_HUB}/{name}"
    has_tag = ":" in name.rpartition("/")[2] or "@" in name
    return name if has_tag else f"{name}:latest"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    wild = {"**": ".*", "*": "[^/]*"}
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join(wild.get(part) or re.escape(part) for part in parts), re.DOTALL)
