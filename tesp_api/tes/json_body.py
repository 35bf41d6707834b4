"""Reads the JSON in a request's body, and refuses what two readers could understand in two ways."""

import json
from typing import Any

from pydantic_core import from_json

from tesp_api.errors import Fault, InvalidRequest

BODY = "body"
"""How faults name the body as a whole."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_json(body: bytes) -> Any:
    """The value in a request's body, whatever its content type said; all its strings are valid Unicode.

    Raises:
        InvalidRequest: it is no JSON (NaN and lone surrogates are none), nests deeper than 200 levels,
            has a number of thousands of digits, or an object that has a key twice.
    """
    text = body.removeprefix(_BYTE_ORDER_MARK)
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest([Fault(BODY, f"is not valid JSON: {error}")]) from None
    # from_json takes the last of two equal keys in silence; where there is no object, there is none.
    if b"{" in text:
        _KEY_READER.decode(text.decode())
    return value


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> None:
    """Look at the keys of one object, and keep nothing of it."""
    if len(dict(pairs)) == len(pairs):
        return
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise InvalidRequest([Fault(BODY, f"has the key {key[:80]!r} twice in one object")])
        seen.add(key)


_KEY_READER = json.JSONDecoder(object_pairs_hook=_refuse_repeated_keys, parse_int=len, parse_float=len)
