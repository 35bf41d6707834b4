"""URLs: paths decoded, children appended, secrets hidden."""

import pytest

from tesp_api.worker.errors import StagingError
from tesp_api.worker.transfer import transfer_for
from tesp_api.worker.urls import extend, http_origin, local_path, shown


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a%20b/c", "/a b/c"),
        ("file://localhost/a", "/a"),
        ("/a%20b", "/a%20b"),
        ("/a/../b/", "/b"),
        ("file:///a?b#c", "/a?b#c"),
        ("//a", "/a"),
    ],
)
def test_local_paths(url: str, path: str) -> None:
    assert local_path(url) == path


@pytest.mark.parametrize("url", ["file://host/a", "relative", "file:relative", ""])
def test_what_names_no_file_here_is_refused(url: str) -> None:
    with pytest.raises(StagingError):
        local_path(url)


def test_secrets_are_not_shown() -> None:
    assert shown("https://u:p@h:1/a/b?X-Amz-Signature=s#t") == "https://h:1/a/b"
    assert shown("/a?b") == "/a?b"
    assert shown("file:///a?b#c") == "file:///a?b#c"
    assert shown("s3://bucket/a?b#c") == "s3://bucket/a?b#c"


@pytest.mark.parametrize(
    ("url", "child"),
    [
        ("http://h/d/", "http://h/d/a%20b/c"),
        ("http://h/d?sig=1", "http://h/d/a%20b/c?sig=1"),
        ("/d", "/d/a b/c"),
        ("http://h/d?sig=1#part", "http://h/d/a%20b/c?sig=1"),
        ("file:///d", "file:///d/a%20b/c"),
        ("file:///d?e#f", "file:///d?e#f/a%20b/c"),
        ("s3://bucket/d?#/", "s3://bucket/d?#/a b/c"),
    ],
)
def test_children_of_directories(url: str, child: str) -> None:
    assert extend(url, "a b/c") == child


def test_request_targets_keep_their_escapes() -> None:
    assert http_origin("http://u:p%40@h/a%20b c?x=1&y=%2F").target == "/a%20b%20c?x=1&y=%2F"
    assert http_origin("http://u:p%40@h/").userinfo == "u:p@"


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(StagingError, match="gopher"):
        transfer_for("gopher://h/x")
