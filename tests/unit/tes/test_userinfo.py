"""User and password in URLs: split off, and never repeated."""

import json
from typing import Any

import pytest

from tesp_api.errors import InvalidRequest
from tesp_api.tes.userinfo import UrlLogin, userinfo_fault, without_userinfo
from tesp_api.tes.validation import NewTask, validate_task
from tests.factories import make_request

SECRET = "s3cr3t"


def new(inputs: list[dict[str, Any]] = (), outputs: list[dict[str, Any]] = ()) -> NewTask:  # type: ignore[assignment]
    for number, item in enumerate((*inputs, *outputs)):
        item.setdefault("path", f"/data/{number}")
    return validate_task(make_request(inputs=list(inputs), outputs=list(outputs)))


@pytest.mark.parametrize(
    ("url", "left"),
    [
        ("https://u:p@host/a?b=c#d", "https://host/a?b=c#d"),
        ("ftp://u@host/a@b", "ftp://host/a@b"),
        ("http://a@b:c@host:81/x", "http://host:81/x"),
        ("http://@host/a", "http://host/a"),
        ("HTTP://u:p@[::1]:80", "HTTP://[::1]:80"),
        ("http://host/a@b", "http://host/a@b"),
        ("http://host?q=u:p@x", "http://host?q=u:p@x"),
        ("/data/u:p@x", "/data/u:p@x"),
    ],
)
def test_what_is_left_of_a_url(url: str, left: str) -> None:
    assert without_userinfo(url) == left


@pytest.mark.parametrize("scheme", ["http", "https", "ftp", "ftps"])
def test_a_login_is_split_off_and_decoded(scheme: str) -> None:
    task = new([{"url": f"{scheme}://lab%20user:hush%3A%40%2F%C3%BC@host/a"}])
    assert task.document["inputs"][0]["url"] == f"{scheme}://host/a"
    assert task.logins == (UrlLogin(f"{scheme}://host/a", "lab user", "hush:@/ü"),)
    assert "hush" not in repr(task)


def test_a_user_alone_is_a_login_and_an_empty_one_is_none() -> None:
    task = new([{"url": f"http://{SECRET}@host/a"}, {"url": "http://:p@host/b"}, {"url": "http://:@host/c"}])
    assert task.logins == (UrlLogin("http://host/a", SECRET, ""), UrlLogin("http://host/b", "", "p"))
    assert task.document["inputs"][2]["url"] == "http://host/c"


def test_each_url_has_its_own_login() -> None:
    task = new(
        [{"url": "http://a:1@host/x?v=1"}, {"url": "http://b:2@host/x?v=2"}], [{"url": "http://c:3@host/x"}]
    )
    assert [login.url_prefix for login in task.logins] == [
        "http://host/x?v=1",
        "http://host/x?v=2",
        "http://host/x",
    ]


def test_a_directory_and_a_pattern_are_prefixes_without_query() -> None:
    task = new(
        [
            {"url": "http://u:p@host/d/?v=1", "type": "DIRECTORY"},
            {"url": "ftp://u:p@host/f", "path": "/in/a*"},
        ],
        [{"url": "http://u:p@host/e?v=2", "path": "/out/*", "path_prefix": "/out"}],
    )
    prefixes = [login.url_prefix for login in task.logins]
    assert prefixes == ["http://host/d/", "ftp://host/f", "http://host/e"]


def test_a_url_beside_content_keeps_no_login() -> None:
    task = new([{"url": f"sftp://u:{SECRET}@host/a", "content": "x"}])
    assert (task.document["inputs"][0]["url"], task.logins) == ("sftp://host/a", ())


def test_one_url_cannot_have_two_logins() -> None:
    with pytest.raises(InvalidRequest) as refused:
        new([{"url": f"http://a:{SECRET}@host/x"}], [{"url": "http://b:2@host/x"}])
    (fault,) = refused.value.faults
    assert (fault.field, SECRET in fault.message) == ("outputs[0].url", False)
    assert len(new([{"url": "http://a:1@host/x"}], [{"url": "http://a:1@host/x"}]).logins) == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"http://u:{SECRET}%0D%0A@host/", "control characters"),
        (f"http://u:{SECRET}%E9@host/", "UTF-8"),
        (f"http://u%3A{SECRET}:p@host/", "colon"),
        (f"file://u:{SECRET}@localhost/a", "before the @"),
    ],
)
def test_a_login_that_cannot_be_used(url: str, said: str) -> None:
    assert said in (userinfo_fault(url) or "")
    assert userinfo_fault("ftp://a%3Ab:p@host/") is None


@pytest.mark.parametrize(
    "url",
    [
        f"http://u:{SECRET}/x@host/a",
        f"http://u:{SECRET}@host:port/a",
        f"http://u:{SECRET}@[::1/a",
        f"http://u:{SECRET}@ho\u2100st/a",
        f"http://u:{SECRET}@/a",
        f"http:/u:{SECRET}@host/a",
        f"gopher://u:{SECRET}@host/a",
        f"file://u:{SECRET}@server/a",
        f"ftp://u:{SECRET}@host/a?b",
        f"ftp://u:{SECRET}@host",
        f"http://u:{SECRET}%0A@host/a",
        f"http://u:{SECRET}@host/a?b=ü",
    ],
)
def test_no_fault_repeats_a_secret(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        new([{"url": url}], [{"url": url, "path": "/data/out"}])
    assert SECRET not in json.dumps([fault.as_json() for fault in refused.value.faults])
    assert refused.value.faults
