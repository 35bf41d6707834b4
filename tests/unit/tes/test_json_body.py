"""Bodies are read as JSON alone, and a key that comes twice is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesp_api.errors import InvalidRequest
from tesp_api.tes.json_body import read_json

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=10,
)


@given(_json, st.booleans(), st.sampled_from([None, 2]))
def test_what_is_written_is_read(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert read_json(text.encode()) == value
    assert read_json(b"\xef\xbb\xbf" + text.encode()) == value


@given(st.dictionaries(_text, _json, min_size=1, max_size=4), st.randoms(), st.booleans())
def test_a_key_that_comes_twice_is_named(members: dict[str, Any], random: Any, inside: bool) -> None:
    twice = random.choice(list(members))
    written = [*members.items(), (twice, None)]
    random.shuffle(written)
    text = "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in written) + "}"
    with pytest.raises(InvalidRequest) as refused:
        read_json(f'[0, {{"a": {text}}}]'.encode() if inside else text.encode())
    assert [fault.field for fault in refused.value.faults] == ["body"]
    assert f"has the key {twice!r} twice" in str(refused.value)


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        value = read_json(body)
    except InvalidRequest as refused:
        assert refused.faults
    else:
        json.dumps(value).encode()
