"""The images that the suites name, made here of Debian's packages: there may be no registry.

They are stand-ins: Debian with Python under the names of all of them, and for bash what its image does with a
command that begins with an option.
"""

import subprocess
import tempfile
from pathlib import Path

from tests.services.containers import ServiceUnavailable, require_docker
from tests.services.dts import BASE, require_debian

NAMES = (
    *("docker.io/debian:stable-slim", "docker.io/python:3-slim", "docker.io/alpine:latest"),
    *("debian:stretch-slim", "python:2-slim", "python:2.7.15-alpine3.7", "python:3"),
)
BASH = ("docker.io/bash:4.4", "bash:4.4.12")

_PYTHON = f"""FROM {BASE}
RUN apt-get update && apt-get install -y --no-install-recommends python3 python-is-python3 procps
"""
_WITH_ENTRYPOINT = f"""FROM {NAMES[0]}
RUN printf '#!/bin/bash\\n[ "${{1#-}}" = "$1" ] || set -- bash "$@"\\nexec "$@"\\n' >/entry; chmod +x /entry
ENTRYPOINT ["/entry"]
"""


def require_images() -> None:
    """See that Docker has all of them. Raises: ServiceUnavailable."""
    require_docker()
    if all(_docker("image", "inspect", name).returncode == 0 for name in (*NAMES, *BASH)):
        return
    require_debian()
    _build(_PYTHON, NAMES[0])
    for name in NAMES[1:]:
        _docker("tag", NAMES[0], name)
    for name in BASH:
        _build(_WITH_ENTRYPOINT, name)


def _build(dockerfile: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Dockerfile").write_text(dockerfile)
        done = _docker("build", "--network", "host", "--tag", name, folder)
    if done.returncode:
        raise ServiceUnavailable(f"{name} cannot be built: {(done.stdout + done.stderr)[-1500:]}")


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True)
