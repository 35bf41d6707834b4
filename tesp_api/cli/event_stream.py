"""Server-sent events of a server, taken up again where the connection breaks, also across its restarts."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tesp_api.cli.client import TespClient
from tesp_api.cli.exits import CommandFailed, Exit

PATIENCE_S = 60.0
"""So long a server may be away before we give up; while it is there, a stream may be silent for hours."""

_SILENCE_S = 40.0
"""A server says every 15 seconds that it lives."""
_PAUSE_MIN_S, _PAUSE_MAX_S = 0.1, 2.0
_TRY_AGAIN = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event, and its id; "" if it has none."""

    name: str
    data: dict[str, Any]
    place: str = ""


def events(client: TespClient, path: str, params: Mapping[str, str] | None = None) -> Iterator[StreamEvent]:
    """The events of a stream until its `end`, each once; for one without ids, those of each connection.

    Raises:
        CommandFailed: the server refuses it, or is away for too long. A first connection is not waited for.
    """
    place, pause_s, heard_at = "", _PAUSE_MIN_S, None
    while True:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": place} if place else {})
        failure = ""
        try:
            with client.stream(path, params, headers, silence_s=_SILENCE_S) as response:
                if response.status_code not in _TRY_AGAIN:
                    client.check(response)
                    heard_at, pause_s = time.monotonic(), _PAUSE_MIN_S
                    for event in _parse(response.iter_lines()):
                        heard_at, place = time.monotonic(), event.place or place
                        yield event
                        if event.name == "end":
                            return
                else:
                    failure = f"it answers {response.status_code}"
        except httpx.TransportError as error:
            failure = f"{type(error).__name__}: {error}"
            if heard_at is None:
                raise client.unreachable(error) from None
        heard_at = heard_at or time.monotonic()
        if failure and time.monotonic() - heard_at > PATIENCE_S:
            raise CommandFailed(f"{client.url} does not answer any more ({failure})", Exit.UNREACHABLE)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _PAUSE_MAX_S)


def _parse(lines: Iterator[str]) -> Iterator[StreamEvent]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if not line and "event" in fields:
            yield StreamEvent(fields["event"], json.loads(fields.get("data", "{}")), fields.get("id", ""))
        if not line:
            fields = {}
        elif name:
            fields[name] = value.removeprefix(" ")
