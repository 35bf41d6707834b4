"""POSIX 2.13 patterns."""

from fnmatch import fnmatchcase

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
    ("*ab*ab*", "xababx"),
    ("a*?*b", "axb"),
    ("**.*", "a.b.c"),
    ("*a", "aaba"),
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
    ("a*?*b", "ab"),
    ("*ab*ab*", "xabxba"),
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


def test_many_stars_take_no_time() -> None:
    """It would outlive the universe if every star could give back what it has matched."""
    pattern = "a*" * 60 + "b"
    assert not compile_name(pattern).match("a" * 255)
    assert compile_name(pattern).match("a" * 254 + "b")
    assert not compile_path(f"/x*/{pattern}/*y*z").match("/x/" + "a" * 255 + "/y")


@given(st.text(alphabet="ab*?", max_size=8), st.text(alphabet="ab", max_size=8))
def test_stars_match_as_in_fnmatch(pattern: str, name: str) -> None:
    assert bool(compile_name(pattern).match(name)) == fnmatchcase(name, pattern)
