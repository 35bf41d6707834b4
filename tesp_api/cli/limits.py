"""`tesp limits`: how much of a server one may take, and has taken."""

from typing import Any

from tesp_api.cli.task import DEFAULT_URL, Json, TokenFile, Url, User, open_client

_ROWS = (
    ("live_tasks", "tasks that have not ended"),
    ("stored_tasks", "tasks, until they are deleted"),
    ("stored_log_bytes", "bytes of their output"),
    ("requests_per_s", "requests in a second"),
    ("requests_burst", "requests more at once"),
    ("lists_at_once", "costly lists at one time"),
    ("streams_at_once", "streams at one time"),
)


def limits(
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Show your limits at a server, and how much of them you have taken."""
    from tesp_api.cli.output import print_json, print_limits

    with open_client(url, user, token_file) as client:
        found = client.limits()
    if as_json:
        print_json(found)
    else:
        print_limits(rows(found))


def rows(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """For each kind of limit: what it is, yours, how much of it you have, and that of all."""
    own, overall = found["user"], found["all"]
    return [
        (
            what,
            _shown(own["limits"].get(key)),
            _shown(own["used"].get(key)) if key in own["used"] else "",
            _shown(overall["limits"].get(key)),
        )
        for key, what in _ROWS
        if key in own["limits"] or key in overall["limits"] or key in own["used"]
    ]


def _shown(number: float | None) -> str:
    return "no limit" if number is None else f"{number:,.15g}"
