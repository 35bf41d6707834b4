"""Which resources.backend_parameters this server understands: the one place that says so.

Source: TES 1.1, tesResources.backend_parameters and backend_parameters_strict.
"""

from collections.abc import Mapping
from typing import Any

from tesp_api.errors import Fault

SUPPORTED: tuple[str, ...] = (
    "checksums",
    "copied_inputs",
    "credentials",
    "destination",
    "initializing_s",
    "max_attempts",
    "queued_s",
    "running_s",
    "walltime_s",
    "webhook_secret",
    "webhook_states",
    "webhook_url",
)
"""The keys as service-info lists them; upper and lower case are the same."""

_MOST_WARNINGS = 100
_FIELD = "resources.backend_parameters"


def leave_out_unsupported(document: dict[str, Any], faults: list[Fault]) -> tuple[str, ...]:
    """Take the parameters that we do not know out of a task's document; returns the warnings that say so.

    Those that we know stay as the client wrote them. It is a fault to give one twice (in two spellings),
    and, with backend_parameters_strict, to give one that is unknown.
    """
    resources = document.get("resources", {})
    sent = resources.get("backend_parameters", {})
    known = {key.lower() for key in SUPPORTED}
    kept = {key: value for key, value in sent.items() if key.lower() in known}
    faults += _repeated(kept)
    left_out = [key for key in sent if key not in kept]
    if not left_out:
        return ()
    supported = ", ".join(SUPPORTED) or "none"
    if resources.get("backend_parameters_strict"):
        said = f"is not supported (supported: {supported}), and backend_parameters_strict is set"
        faults += (Fault(f"{_FIELD}.{key[:80]}", said) for key in left_out)
        return ()
    resources["backend_parameters"] = kept
    if not kept:
        del resources["backend_parameters"]
    warnings = [
        f"the backend parameter {key[:80]!r} is not supported and was left out (supported: {supported})"
        for key in left_out[:_MOST_WARNINGS]
    ]
    if len(left_out) > _MOST_WARNINGS:
        warnings.append(f"{len(left_out) - _MOST_WARNINGS} more backend parameters were left out")
    return tuple(warnings)


def backend_parameter(document: Mapping[str, Any], name: str) -> str | None:
    """The value of a parameter in a valid task's document; None if it is not there, or empty."""
    sent = (document.get("resources") or {}).get("backend_parameters") or {}
    return next((value for key, value in sent.items() if key.lower() == name), None) or None


def _repeated(kept: dict[str, Any]) -> list[Fault]:
    first: dict[str, str] = {}
    return [
        Fault(f"{_FIELD}.{key}", f"is {first[key.lower()]} once more: upper and lower case are the same")
        for key in kept
        if first.setdefault(key.lower(), key) != key
    ]
