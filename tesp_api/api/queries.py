"""The query parameters of a request, read and checked: every fault at once.

Parameters that nobody knows are ignored; an empty one counts as absent.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from starlette.datastructures import QueryParams

from tesp_api.errors import Fault, InvalidRequest
from tesp_api.store.base import TaskQuery
from tesp_api.tes.states import State, stored_states
from tesp_api.tes.tasks import View

PAGE_SIZE_MAX = 2047
PAGE_SIZE_DEFAULT = 256
MOST_TAGS = 100
"""For how many tags one list may ask."""

_INT64_DIGITS = 18
E_ = TypeVar("E_", bound=StrEnum)


class QueryReader:
    """Reads parameters one by one and collects what is wrong with them."""

    def __init__(self, params: QueryParams) -> None:
        self._params = params
        self.faults: list[Fault] = []

    def text(self, name: str) -> str:
        """The parameter's value, "" if it is absent."""
        value = self._params.get(name, "")
        if "\0" in value:
            self.faults.append(Fault(name, "contains a NUL character"))
        return value

    def texts(self, name: str) -> list[str]:
        """All values of a parameter that may be repeated."""
        values = self._params.getlist(name)
        if any("\0" in value for value in values):
            self.faults.append(Fault(name, "contains a NUL character"))
        return values

    def member(self, name: str, kind: type[E_]) -> E_ | None:
        """A member of an enumeration, in upper or lower case; None if absent."""
        value = self._params.get(name, "")
        if not value:
            return None
        if value.isascii() and value.upper() in kind.__members__:
            return kind[value.upper()]
        self.faults.append(Fault(name, f"must be one of {', '.join(kind.__members__)}"))
        return None

    def members(self, name: str, kind: type[E_]) -> list[E_]:
        """Members of an enumeration; the parameter may be repeated."""
        values = [value for value in self._params.getlist(name) if value]
        found = [
            kind[value.upper()] for value in values if value.isascii() and value.upper() in kind.__members__
        ]
        if len(found) < len(values):
            self.faults.append(Fault(name, f"must be one of {', '.join(kind.__members__)}"))
        return found

    def flag(self, name: str) -> bool:
        """Whether the parameter is true; absent, it is false."""
        value = self._params.get(name, "").lower()
        if value not in ("", "true", "false"):
            self.faults.append(Fault(name, "must be true or false"))
        return value == "true"

    def moment(self, name: str) -> datetime | None:
        """A time as RFC 3339, with an offset; None if absent."""
        value = self._params.get(name, "").replace(" ", "+")  # where the + of an offset was not escaped
        if not value:
            return None
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        self.faults.append(Fault(name, "must be a time as RFC 3339: 2026-01-31T12:00:00Z"))
        return None

    def integer(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number from `least` to `most`, written in ASCII digits."""
        value = self._params.get(name, "")
        if not value:
            return default
        digits = value.removeprefix("-")
        if digits.isascii() and digits.isdecimal() and len(digits) <= _INT64_DIGITS:
            number = int(value)
            if least <= number <= most:
                return number
        self.faults.append(Fault(name, f"must be a whole number from {least} to {most}"))
        return default


@contextmanager
def reading(params: QueryParams) -> Iterator[QueryReader]:
    """A reader whose faults are raised together when the block ends.

    Raises:
        InvalidRequest: a parameter is wrong.
    """
    reader = QueryReader(params)
    yield reader
    if reader.faults:
        raise InvalidRequest(reader.faults)


def read_view(params: QueryParams) -> View:
    """The parameter `view`, MINIMAL if absent."""
    with reading(params) as query:
        return query.member("view", View) or View.MINIMAL


def read_list_query(params: QueryParams, *, tes_1_0: bool) -> tuple[TaskQuery, View]:
    """Which tasks to list, and how. `states` is empty where no task can ever be shown in that state.

    Source: TES 1.1, ListTasks.
    """
    with reading(params) as query:
        state = query.member("state", State)
        filters = TaskQuery(
            states=None if state is None else stored_states(state, tes_1_0=tes_1_0),
            name_prefix=query.text("name_prefix"),
            tags=read_tags(query),
            page_size=query.integer("page_size", PAGE_SIZE_DEFAULT, least=1, most=PAGE_SIZE_MAX),
            after=query.text("page_token") or None,
        )
        view = query.member("view", View) or View.MINIMAL
    return filters, view


def read_tags(query: QueryReader) -> tuple[tuple[str, str], ...]:
    """Keys and values zipped; a key without a value matches any."""
    keys, values = query.texts("tag_key"), query.texts("tag_value")
    if len(keys) > MOST_TAGS:
        query.faults.append(Fault("tag_key", f"is there {len(keys)} times: at most {MOST_TAGS}"))
    if len(values) > len(keys):
        query.faults.append(Fault("tag_value", "has more values than there are tag_key parameters"))
    return tuple(zip(keys, values + [""] * (len(keys) - len(values)), strict=False))
