"""What the worker's events tell of an attempt's phases and transfers.

Whoever rules the site can have events say anything: what makes no sense is left out, and no label is made of
their words but of those known here.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

PROTOCOLS = frozenset({"http", "https", "ftp", "ftps", "s3", "file"})
DIRECTIONS = ("input", "output")

_TELLING = frozenset({"initializing", "executor_started", "executor_ended", "staging_out", "ended"})
_MOST_MARKS = 2_000
_MOST_TRANSFERS = 2_000
_UNTOLD_S = 1.0
"""A transfer is told of when it has taken so long."""
LONGEST_S = 10 * 366 * 86_400.0
_FIRST_YEAR, _LAST_YEAR = 1970, 2500
"""What lies beyond is no time of a worker, and cannot be written as a span's."""
_MOST_BYTES = 10**18


class Transfer(NamedTuple):
    """One declared input or output that took longer than a second, from its first event to its last."""

    direction: str
    protocol: str
    path: str
    began_at: datetime
    ended_at: datetime
    done_bytes: int

    @property
    def took_s(self) -> float:
        """Somewhat less than it took, by a second at most at first: what came before the first event is not
        known."""
        return (self.ended_at - self.began_at).total_seconds() + _UNTOLD_S


class Phase(NamedTuple):
    """A part of an attempt, by the worker's clock."""

    name: str
    began_at: datetime
    ended_at: datetime
    exit_code: int | None = None


@dataclass(slots=True)
class Timeline:
    """One attempt's. Events come in their order, each once."""

    moved_bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By protocol and direction."""
    _marks: list[Mapping[str, Any]] = field(default_factory=list)
    _first: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    _transfers: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=list)

    def add_event(self, event: Mapping[str, Any]) -> None:
        """Take one event in."""
        kind = event.get("event")
        if kind in _TELLING and len(self._marks) < _MOST_MARKS:
            self._marks.append(event)
        elif kind == "transfer" and len(self._transfers) + len(self._first) < _MOST_TRANSFERS:
            key = (str(event.get("direction")), str(event.get("path")))
            first = self._first.setdefault(key, event)
            if event.get("ended"):
                self._transfers.append((first, event))
                del self._first[key]

    def add_result(self, result: Mapping[str, Any]) -> None:
        """Take the files in that the result says were moved; mounted ones have no checksum."""
        self.moved_bytes.clear()
        for direction in DIRECTIONS:
            for file in result.get(f"{direction}s") or ():
                if isinstance(file, Mapping) and "sha256" in file:
                    size_bytes = _number(file.get("size_bytes"))
                    self.moved_bytes[protocol_of(file), direction] += size_bytes

    @property
    def began_at(self) -> datetime | None:
        """When the worker began."""
        return next((at for one in self._marks if one["event"] == "initializing" and (at := _at(one))), None)

    def phases(self) -> Iterator[Phase]:
        """Those that are over, or that the attempt ended in."""
        last = _at(self._marks[-1]) if self._marks else None
        staging_at: datetime | None = None
        out_at: datetime | None = None
        ended_at: datetime | None = None
        has_run = False
        for mark in self._marks:
            at = _at(mark)
            if at is None:
                continue
            if mark["event"] == "initializing":
                staging_at = at
            elif mark["event"] == "executor_started" and not has_run:
                has_run = True
                if staging_at is not None:
                    yield from _phase("initializing", staging_at, at)
            elif mark["event"] == "executor_ended":
                began, ended = _time(mark.get("started_at")), _time(mark.get("ended_at"))
                if began and ended:
                    yield from _phase("executor", began, ended, mark.get("exit_code"))
            elif mark["event"] == "staging_out":
                out_at = at
            elif mark["event"] == "ended":
                ended_at = at
        if staging_at is not None and not has_run and last is not None and last > staging_at:
            yield from _phase("initializing", staging_at, last)
        if out_at is not None and ended_at is not None:
            yield from _phase("uploading", out_at, ended_at)

    def transfers(self) -> Iterator[Transfer]:
        """Those that were told of and have ended."""
        for first, last in self._transfers:
            began, ended = _at(first), _at(last)
            direction = str(last.get("direction"))
            if began and ended and direction in DIRECTIONS and _is_sound(began, ended):
                done = _number(last.get("done_bytes"))
                yield Transfer(direction, protocol_of(last), str(last.get("path")), began, ended, done)


def protocol_of(file: Mapping[str, Any]) -> str:
    """How a file was moved: "content" where the request brought it, "other" for what is not known here."""
    url = file.get("url")
    if not isinstance(url, str) or not url:
        return "content"
    scheme = "file" if url.startswith("/") else url.partition("://")[0].lower()
    return scheme if scheme in PROTOCOLS else "other"


def _phase(name: str, began: datetime, ended: datetime, exit_code: object = None) -> Iterator[Phase]:
    if _is_sound(began, ended):
        yield Phase(name, began, ended, exit_code if isinstance(exit_code, int) else None)


def _is_sound(began: datetime, ended: datetime) -> bool:
    return 0 <= (ended - began).total_seconds() < LONGEST_S


def _at(event: Mapping[str, Any]) -> datetime | None:
    return _time(event.get("at"))


def _time(text: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    is_sound = at is not None and at.tzinfo is not None and _FIRST_YEAR < at.year < _LAST_YEAR
    return at if is_sound else None


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < _MOST_BYTES else 0
