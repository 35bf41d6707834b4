"""Requests that real clients sent, as kept in `captured/`, and how to send them again.

A file says which versions sent them. Task ids, the folder that client and server shared, and the like
were replaced by `{task_id}`, `{shared}` and so on: `filled` puts the test's own values there.

To capture a newer client, let it run against a `RecordingProxy` in front of a `TespServer`, pick one exchange
of each kind, and `save` them.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.services.recording_proxy import Exchange

FOLDER = Path(__file__).with_name("captured")
NO_BODY = object()
HEADERS = ("authorization", "content-type", "accept", "user-agent")


@dataclass(frozen=True, slots=True)
class CapturedRequest:
    """One request of a client; `body` is parsed JSON, `NO_BODY` if nothing was sent."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: Any

    def filled(self, **values: str) -> "CapturedRequest":
        """The request with `{name}` replaced by each value, wherever it stands."""
        return CapturedRequest(
            self.method,
            _fill(self.path, values),
            tuple((name, _fill(value, values)) for name, value in self.query),
            self.headers,
            _fill(self.body, values),
        )

    def arguments(self) -> dict[str, Any]:
        """What `httpx.Client.request` takes."""
        return {
            "method": self.method,
            "url": self.path,
            "params": self.query,
            "headers": dict(self.headers),
            "content": b"" if self.body is NO_BODY else json.dumps(self.body).encode(),
        }

    def send(self, client: httpx.Client) -> httpx.Response:
        """Send it again."""
        return client.request(**self.arguments())


def captured(name: str, *, folder: Path = FOLDER) -> dict[str, CapturedRequest]:
    """The requests of `captured/NAME.json` by their names there."""
    document = json.loads((folder / f"{name}.json").read_text())
    return {
        label: CapturedRequest(
            sent["method"],
            sent["path"],
            tuple((key, value) for key, value in sent.get("query", ())),
            sent["headers"],
            sent.get("body", NO_BODY),
        )
        for label, sent in document["requests"].items()
    }


def save(
    name: str,
    versions: Mapping[str, str],
    exchanges: Mapping[str, Exchange],
    replaced: Iterable[tuple[str, str]],
    *,
    folder: Path = FOLDER,
) -> Path:
    """Write `captured/NAME.json`; each text of `replaced` is given as (text, what to put there)."""
    requests = {label: _as_document(exchange) for label, exchange in exchanges.items()}
    for text, placeholder in replaced:
        requests = _replace(requests, text, placeholder)
    file = folder / f"{name}.json"
    document = {"versions": dict(versions), "requests": requests}
    file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return file


def _as_document(exchange: Exchange) -> dict[str, Any]:
    headers = {name: exchange.headers[name] for name in HEADERS if name in exchange.headers}
    document: dict[str, Any] = {"method": exchange.method, "path": exchange.path}
    if exchange.query:
        document["query"] = [list(pair) for pair in exchange.query]
    document["headers"] = headers
    if exchange.body:
        document["body"] = json.loads(exchange.body)
    return document


def _fill(value: Any, values: Mapping[str, str]) -> Any:
    for name, text in values.items():
        value = _replace(value, "{" + name + "}", text)
    return value


def _replace(value: Any, text: str, by: str) -> Any:
    if isinstance(value, str):
        return value.replace(text, by)
    if isinstance(value, list):
        return [_replace(item, text, by) for item in value]
    if isinstance(value, dict):
        return {key: _replace(item, text, by) for key, item in value.items()}
    return value
