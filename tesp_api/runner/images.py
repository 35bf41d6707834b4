"""Which images a destination takes: pure functions of their names."""

import re
from collections.abc import Sequence
from functools import cache, lru_cache

from tesp_api.worker.rules import Rules

_DOCKER_HUB = "docker.io"
_NAME_MAX_LENGTH = 1000

# Source: the grammar of distribution/reference; upper case is left to the registry to refuse.
_OF_A_REGISTRY = re.compile(
    r"((docker|oras|library)://)?((\w[\w.-]*|\[[0-9a-fA-F:.]+\])(:\d{1,5})?/)?\w[\w.-]*(/\w[\w.-]*)*"
    r"(:\w[\w.-]{0,127})?(@[\w+.-]+:[0-9a-fA-F]+)?",
    re.ASCII,
)


def is_ordinary(image: str, local_networks: Sequence[str] = ()) -> bool:
    """Whether it is the name of an image in a registry, and that at no local address but in these networks.

    A runtime goes wherever a name says: to loopback and the cloud's metadata, past the rules for transfers.
    """
    return len(image) <= _NAME_MAX_LENGTH and _is_ordinary(image, tuple(local_networks))


@lru_cache(maxsize=1024)  # asked of each executor of each task
def _is_ordinary(image: str, local_networks: tuple[str, ...]) -> bool:
    if not is_of_a_registry(image):
        return False
    host = full_name(image).rpartition("://")[2].partition("/")[0]
    name = host.partition("]")[0].strip("[") if host.startswith("[") else host.partition(":")[0]
    return not Rules(local_networks=local_networks).host_fault(name)


def is_of_a_registry(image: str) -> bool:
    """Whether it is a name that runtimes look up in a registry.

    All else can be a file or directory of the site, of which apptainer and podman make containers: `/` would
    show all of the host; or a URL from which apptainer fetches an image, past the rules for transfers.
    """
    return _OF_A_REGISTRY.fullmatch(image) is not None


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
    elif not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        name = f"{_DOCKER_HUB}/{name}"
    has_tag = ":" in name.rpartition("/")[2] or "@" in name
    return name if has_tag else f"{name}:latest"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    wild = {"**": ".*", "*": "[^/]*"}
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join(wild.get(part) or re.escape(part) for part in parts), re.DOTALL)
