"""The servers that acceptance tests run on: each transport with each runtime that matters there."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.services.containers import require_docker
from tests.services.pulsar_rest import StockPulsar
from tests.services.tesp import ONLY_BUBBLEWRAP, ONLY_DOCKER

KINDS = ("embedded-bubblewrap", "embedded-docker", "rest-docker")


@contextlib.contextmanager
def environment_of(kind: str, *, roots: Mapping[Path, str] | None = None) -> Iterator[dict[str, str]]:
    """The settings of a server of this kind, as environment variables; what it needs runs meanwhile.

    `roots` are its file roots, with how each is mounted.
    """
    transport, _, runtime = kind.partition("-")
    with contextlib.ExitStack() as stack:
        settings = dict(ONLY_BUBBLEWRAP)
        if runtime == "docker":
            require_docker()
            settings = dict(ONLY_DOCKER)
        if transport == "rest":
            pulsar = stack.enter_context(StockPulsar())
            settings |= {
                "TESP_API_DESTINATIONS__LOCAL__KIND": "rest",
                "TESP_API_DESTINATIONS__LOCAL__URL": pulsar.url,
                "TESP_API_DESTINATIONS__LOCAL__PRIVATE_TOKEN": pulsar.private_token,
            }
        listed = [{"path": str(path), "mount": mount} for path, mount in (roots or {}).items()]
        yield settings | {"TESP_API_DESTINATIONS__LOCAL__FILE_ROOTS": "@json " + json.dumps(listed)}
