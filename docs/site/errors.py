"""docs/reference/errors.md: the errors of the API, and why an attempt of a task has failed."""

import inspect
from collections.abc import Iterator
from typing import Any

from docs.site.tables import code, table
from tesp_api.errors import ChannelError, PermitRefused, PulsarError, TespError
from tesp_api.settings import RetrySettings
from tesp_api.worker.errors import SystemFailure

HEAD = """# Errors

Every refusal of the API is one JSON document, such as `{"status_code": 404, "msg": "there is no task 'x'"}`.
Where fields are wrong it has `faults` as well, each with its `field` and a `message` that says what to do; a
429 has `limit`. What a user may be answered:
"""
CAUSES_HEAD = """
## Why an attempt has failed

`logs` of a task has an entry for each attempt. `cause` in its metadata is one of these. *Attempts* is how
many there may be for this cause, unless the settings say otherwise; 1, or no number, is the first one alone.
No attempt runs an executor again that had begun, unless
[the settings](../operations.md#retries-and-deadlines) allow it.
"""
NOT_FOR_USERS = (ChannelError, PermitRefused, PulsarError)


def errors_page() -> str:
    """The page."""
    known = sorted(set(_all(TespError)), key=lambda one: (one.http_status, one.__name__))
    shown = [
        one
        for one in known
        if one.http_status != 500 and one.final_state is None and not issubclass(one, NOT_FOR_USERS)
    ]
    answers = ((str(one.http_status), code(one.__name__), _said(one)) for one in shown)
    return "\n".join(
        [
            HEAD,
            table(("status", "error", "means"), answers),
            CAUSES_HEAD,
            table(("cause", "attempts", "means"), _causes()),
        ]
    )


def _causes() -> Iterator[tuple[str, str, str]]:
    tried = {name: field for name, field in RetrySettings.model_fields.items() if name not in _NO_CAUSES}
    for name, field in tried.items():
        yield code(name), str(field.default), field.description or ""
    for kind in _all(SystemFailure):
        cause: str = kind.__dict__.get("cause", "")
        if cause and cause not in tried:
            yield code(cause), "", _said(kind)


_NO_CAUSES = ("max_attempts", "run_again", "pause_s", "pause_max_s")


def _all(kind: Any) -> Iterator[Any]:
    for one in kind.__subclasses__():
        yield one
        yield from _all(one)


def _said(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split()).removeprefix("... ")
