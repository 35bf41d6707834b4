"""POSIX 2.13 patterns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesp_api.worker.wildcards import compile_name, compile_path

MATCHES = [
    ("*", "name"),
    ("*.txt", "a b.txt"),
    ("?", "x"),
    ("[abc]", "b"),
    ("[a-c]x", "cx"),
    ("[!a]", "b"),
    ("[]x]", "]"),
    ("[!]]", "x"),
    ("[[:digit:]]*", "7up"),
    (".*", ".hidden"),
    (r"\*", "*"),
    ("[a", "[a"),
    ("a.b", "a.b"),
    ("[a^]", "^"),
    ("[x-]", "-"),
]
MISSES = [
    ("*", ".hidden"),
    ("?hidden", ".hidden"),
    ("[.]hidden", ".hidden"),
    ("*.txt", "a.txt2"),
    ("?", ""),
    ("[!a]", "a"),
    ("[!b]", "/"),
    ("a.b", "axb"),
    (r"\*", "x"),
    ("[z-a]", "z"),
    ("*", "two\n/lines"),
]


@pytest.mark.parametrize(("pattern", "name"), MATCHES)
def test_matches(pattern: str, name: str) -> None:
    assert compile_name(pattern).match(name)


@pytest.mark.parametrize(("pattern", "name"), MISSES)
def test_misses(pattern: str, name: str) -> None:
    assert not compile_name(pattern).match(name)


def test_no_wildcard_of_a_path_matches_a_slash() -> None:
    assert compile_path("/a*/[!x]").match("/ab/c")
    assert not compile_path("/a*").match("/ab/c")
    assert not compile_path("/a/*").match("/a/.b")


@given(st.text(alphabet="ab*?[]!-^\\:.x", max_size=12))
def test_any_text_is_a_pattern(pattern: str) -> None:
    compile_name(pattern)
