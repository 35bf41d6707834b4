"""Which named credential is for which URL."""

import pytest
from pydantic import ValidationError

from tesp_api.settings import CredentialSettings
from tesp_api.storage.credentials import Credentials, begins_with


def credential(prefix: str, **more: object) -> CredentialSettings:
    return CredentialSettings.model_validate({"url_prefix": prefix, **more})


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("s3://lab/a/b", "s3://lab"),
        ("s3://lab/a/b", "s3://lab/"),
        ("s3://lab/a/b", "s3://lab/a"),
        ("s3://lab/a", "s3://lab/a/"),
        ("https://Data.Example.org/x", "https://data.example.ORG/"),
        ("HTTPS://data.example.org/x", "https://data.example.org"),
        ("ftp://user@host/x", "ftp://host/"),
    ],
)
def test_a_prefix_holds_what_is_below_it(url: str, prefix: str) -> None:
    assert begins_with(url, prefix)


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("s3://laboratory/a", "s3://lab"),
        ("s3://lab/ab", "s3://lab/a"),
        ("https://data.example.org.evil.com/x", "https://data.example.org"),
        ("http://data.example.org/x", "https://data.example.org/"),
        ("https://data.example.org:8443/x", "https://data.example.org/"),
        ("https://data.example.org@evil.com/x", "https://data.example.org/"),
        ("https://data.example.org/private/../other", "https://data.example.org/private"),
        ("https://data.example.org/private/%2e%2E/other", "https://data.example.org/private"),
        ("https://data.example.org/private/x%2F..%2F..%2Fother", "https://data.example.org/private"),
        ("https://data.example.org/private/..%5Cother", "https://data.example.org/private"),
        ("https://data.example.org/private/..;/other", "https://data.example.org/private"),
        ("https://data.example.org/?/private/x", "https://data.example.org/private"),
    ],
)
def test_a_prefix_does_not_hold_what_only_looks_like_it(url: str, prefix: str) -> None:
    assert not begins_with(url, prefix)


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("https://data.example.org/private?v=1", "https://data.example.org/private"),
        ("https://data.example.org/private/x?path=a/../b", "https://data.example.org/private/"),
        ("https://data.example.org#top", "https://data.example.org"),
        ("https://data.example.org/a/../b", "https://data.example.org/a/../b"),
    ],
)
def test_a_prefix_holds_itself_and_does_not_look_at_queries(url: str, prefix: str) -> None:
    assert begins_with(url, prefix)


def test_the_longest_prefix_wins_unless_the_task_names_one() -> None:
    credentials = Credentials(
        {"all": credential("s3://lab/"), "one": credential("s3://lab/a/"), "asked": credential("s3://lab")}
    )
    found = credentials.find("s3://lab/a/x", owner="anybody")
    asked = credentials.find("s3://lab/a/x", owner="anybody", named=["asked"])
    assert found is not None and found.name == "one"
    assert asked is not None and asked.name == "asked"


def test_a_credential_of_other_users_or_only_by_name_is_not_found_without_that() -> None:
    credentials = Credentials(
        {
            "alices": credential("https://a.org/", users=["alice"]),
            "asked": credential("https://b.org/", by_name_only=True),
        }
    )
    assert credentials.find("https://a.org/x", owner="bob") is None
    assert credentials.get("alices", owner="bob") is None
    assert credentials.find("https://a.org/x", owner="alice") is not None
    assert credentials.find("https://b.org/x", owner="bob") is None
    assert credentials.find("https://b.org/x", owner="bob", named=["asked"]) is not None


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        ({"username": "u", "password": "hush\n"}, "password must not have control"),
        ({"username": "hush\x00"}, "username must not have control"),
        ({"username": "hush:x"}, "colon"),
        ({"bearer_token": "hush\r\nX-Evil: 1"}, "visible ASCII: Authorization"),
        ({"headers": {"X-Key": "hush ü"}}, "visible ASCII: X-Key"),
        ({"headers": {"X Key": "hush"}}, "name of a header"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_the_start_and_not_shown(
    secrets: dict[str, object], said: str
) -> None:
    with pytest.raises(ValidationError, match=said) as refused:
        credential("https://data.example.org", **secrets)
    texts = [fault["msg"] for fault in refused.value.errors(include_input=False)]
    assert not any("hush" in text for text in texts)
