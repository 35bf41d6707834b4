"""Tasks as documents: any text, any size, and nothing of a client's as a field name."""

import json
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesp_api.store.base import OnceKey
from tesp_api.store.mongo_documents import (
    exact,
    from_json,
    new_document,
    once_hash,
    tag_entry,
    to_json,
    to_task,
)
from tests.factories import make_task

# As it comes out of a client's JSON: two halves of a pair are one character, one half may stand alone.
ANY_TEXT = st.text(st.characters(codec=None), max_size=40).map(lambda text: json.loads(json.dumps(text)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=20,
)
STRANGE_KEYS = ["a.b", "$set", "", "a\0b", "\ud800", "_id", "ÿ", "þ", "🐎"]


def through_bson(value: object) -> Any:
    return bson.decode(bson.encode({"value": value}))["value"]


@given(document=st.dictionaries(ANY_TEXT, JSON, max_size=5))
def test_any_json_comes_back(document: dict[str, object]) -> None:
    assert from_json(through_bson(to_json(document))) == document


def test_long_json_is_compressed_and_comes_back() -> None:
    document = {"content": "ACGT" * 2_000_000, "é": "\ud800"}
    stored = to_json(document)
    assert isinstance(stored, bytes)
    assert len(stored) < 100_000
    assert from_json(through_bson(stored)) == document


@given(one=ANY_TEXT, other=ANY_TEXT)
def test_exact_texts_compare_as_their_bytes_do(one: str, other: str) -> None:
    first, second = (text.encode("utf-8", "surrogatepass") for text in (one, other))
    through = exact(one).encode(), exact(other).encode()  # as MongoDB compares
    assert (through[0] < through[1]) == (first < second)
    assert exact(one + other).startswith(exact(one))
    assert through_bson(exact(one)) == exact(one)


@given(key=ANY_TEXT, value=ANY_TEXT, other_key=ANY_TEXT, other_value=ANY_TEXT)
def test_different_tags_have_different_entries(
    key: str, value: str, other_key: str, other_value: str
) -> None:
    same = (key, value) == (other_key, other_value)
    assert (tag_entry(key, value) == tag_entry(other_key, other_value)) == same


@pytest.mark.parametrize("size", [1, 250, 300, 1_000_000])
def test_entries_are_of_bounded_length_and_still_differ(size: int) -> None:
    entries = {tag_entry("k" * size, value) for value in ("", "x", "y", "y" * size + "z")}
    assert len(entries) == 4
    assert max(map(len, entries)) <= 256


def test_a_key_is_bound_to_its_owner() -> None:
    hashes = {once_hash(*pair) for pair in (("a", "bc"), ("ab", "c"), ("", "abc"), ("\ud800", "abc"))}
    assert len(hashes) == 4


@pytest.mark.parametrize("key", STRANGE_KEYS)
def test_nothing_of_a_clients_is_a_field_name(key: str) -> None:
    tags = {key: "value", "n": str(2**63)}
    task = make_task(tags=tags, resources={"backend_parameters": {key: key}})
    document = new_document(task, OnceKey("k", "d"))
    assert set(document) == set(new_document(make_task(), OnceKey("k", "d")))
    assert to_task(bson.decode(bson.encode(document))) == task
