"""A task's environment on its way to docker or podman, without showing secrets in the process list.

Most values travel in an env file that only this user can read. That format is one line a value,
so a value with a line break (a private key, say) goes through the program's own environment with
`--env=NAME`, unless that name could steer the program itself; such a value is given on the command
line, where other users of the site can see it.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

LINE_LIMIT_BYTES = 60_000  # docker reads env files with a scanner that stops at 64 KiB a line
STEERING = re.compile(
    r"PATH|HOME|USER|SHELL|IFS|TZ|TERM|TMPDIR|TMP|TEMP|NO_PROXY|no_proxy|LC_.*|LANG.*|LD_.*|GO.*|SSL_.*|SSH_.*"
    r"|DOCKER_.*|BUILDKIT_.*|COMPOSE_.*|CONTAINER.*|PODMAN_.*|STORAGE_.*|REGISTRY_.*|REGISTRIES_.*|NETAVARK_.*"
    r"|BUILDAH_.*|XDG_.*|DBUS_.*|NOTIFY_.*|LISTEN_.*|OTEL_.*|PYTHON.*|MALLOC_.*|GCONV_.*|GLIBC_.*|.*_proxy|.*_PROXY"
)
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Environment(NamedTuple):
    file_lines: list[str]
    options: list[str]
    passed: dict[str, str]


def split_environment(env: dict[str, str]) -> Environment:
    """Choose the way of each variable."""
    split = Environment([], [], {})
    for name, value in sorted(env.items()):
        plain = PLAIN_NAME.fullmatch(name) is not None
        if plain and not any(sign in value for sign in "\r\n\0") and len(value.encode()) < LINE_LIMIT_BYTES:
            split.file_lines.append(f"{name}={value}")
        elif plain and not STEERING.fullmatch(name) and name not in os.environ:
            split.options.append(f"--env={name}")
            split.passed[name] = value
        else:
            split.options.append(f"--env={name}={value}")
    return split
