"""The backend parameters that say how a task's files are moved: `checksums` and `copied_inputs`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tesp_api.errors import Fault
from tesp_api.tes.backend_parameters import backend_parameter
from tesp_api.tes.paths import normal_path

CHECKSUMS = ("md5", "sha1", "sha512")
"""What a task may ask for besides the SHA-256, which is always there."""

_FIELD = "resources.backend_parameters"


def moving_faults(document: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong with them in a valid document."""
    named = backend_parameter(document, "checksums")
    for name in (named or "").split(",") if named else ():
        if name.strip() not in CHECKSUMS:
            known = ", ".join(CHECKSUMS)
            yield Fault(
                f"{_FIELD}.checksums", f"{name.strip()[:40]!r} is none of {known}; commas separate them"
            )
    copied = backend_parameter(document, "copied_inputs")
    if copied is None:
        return
    try:
        paths = json.loads(copied)
    except (ValueError, RecursionError):
        paths = None
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        yield Fault(f"{_FIELD}.copied_inputs", "must be a JSON list of the paths of inputs")
        return
    inputs = {normal_path(item["path"]) for item in document.get("inputs") or ()}
    for path in paths:
        if normal_path(path) not in inputs:
            yield Fault(f"{_FIELD}.copied_inputs", f"{path[:200]!r} is the path of no input")
