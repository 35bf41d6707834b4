"""Which tasks are let in, by the credentials that they need and where these can get to."""

from typing import Any

from tesp_api.settings import Settings
from tesp_api.storage.credential_rules import CredentialRules
from tesp_api.storage.delivery import Delivery
from tesp_api.tes.userinfo import UrlLogin
from tesp_api.tes.validation import NewTask

REST = {"kind": "rest", "url": "http://127.0.0.1:1"}
CREDENTIALS = {
    "open": {"url_prefix": "https://open.example.org/in", "username": "u", "password": "p"},
    "alices": {"url_prefix": "https://alice.example.org", "bearer_token": "t", "users": ["alice"]},
    "lab": {"url_prefix": "s3://lab", "users": ["alice"]},
    "asked": {"url_prefix": "s3://asked", "by_name_only": True},
}
NAMES = "resources.backend_parameters.credentials"


def settings(*, sites: dict[str, Any] | None = None, **more: Any) -> Settings:
    return Settings.model_validate({"credentials": CREDENTIALS, "destinations": sites or {"a": {}}, **more})


def faults(
    *urls: str, names: str = "", owner: str = "bob", logins: tuple[UrlLogin, ...] = (), **more: Any
) -> dict[str, str]:
    document: dict[str, Any] = {"inputs": [{"url": url, "path": "/a"} for url in urls]}
    if names:
        document["resources"] = {"backend_parameters": {"Credentials": names}}
    rules = CredentialRules(settings(**more))
    return {fault.field: fault.message for fault in rules.faults(NewTask(document, logins=logins), owner)}


def test_credentials_are_named_by_those_who_may_use_them() -> None:
    assert faults(names="open, asked ,") == {}
    assert faults(names="alices", owner="alice") == {}


def test_an_unknown_credential_and_one_of_others_are_refused_alike() -> None:
    unknown, others = faults(names="nobodys"), faults(names="alices")
    assert list(unknown) == list(others) == [NAMES]
    assert unknown[NAMES].replace("nobodys", "alices") == others[NAMES]


def test_an_s3_url_needs_a_credential() -> None:
    assert faults("s3://lab/a", owner="alice") == {}
    said = faults("s3://lab/a", "s3://laboratory/b", "s3://asked/c")
    assert list(said) == ["inputs[0].url", "inputs[1].url", "inputs[2].url"]
    assert NAMES in said["inputs[2].url"] and "url_prefix" in said["inputs[2].url"]
    assert faults("s3://asked/c", names="asked") == {}


def test_a_login_that_can_get_nowhere_is_refused() -> None:
    nowhere: dict[str, Any] = {"sites": {"r": REST}}
    named = faults("https://open.example.org/in/x", "https://else.example.org", **nowhere)
    assert list(named) == ["inputs[0].url"] and "channel.port" in named["inputs[0].url"]
    own = (UrlLogin("http://h/d", "u", "p"), UrlLogin("http://h/f?v=1", "u", "p"))
    split_off = faults("http://h/d?x=1", "http://h/e", "http://h/f?v=1", logins=own, **nowhere)
    assert list(split_off) == ["inputs[0].url", "inputs[2].url"]
    assert faults("s3://asked/c", names="asked", **nowhere) == {}


def test_one_destination_that_can_be_given_it_is_enough() -> None:
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"r": REST, "e": {}}, {}),
        ({"r": REST, "c": {**REST, "channel_url": "https://here"}}, {}),
        ({"g": {**REST, "staging": "gateway"}}, {}),
        ({"r": REST}, {"channel": {"port": 8443, "url": "https://here"}}),
    ]
    for sites, more in cases:
        assert faults("https://open.example.org/in/x", sites=sites, **more) == {}


def test_how_large_an_output_may_be_is_said_where_it_matters() -> None:
    item = {"url": "s3://lab/out", "path": "/out"}
    new = NewTask({"inputs": [{"url": "s3://lab/in", "path": "/in"}], "outputs": [item]})
    [said] = CredentialRules(settings(sites={"r": REST, "e": {}})).warnings(new, "alice")
    assert said == "outputs[0].url: from r each file can have at most 5368709120 bytes"
    assert list(CredentialRules(settings()).warnings(new, "alice")) == []


def test_a_task_with_a_login_goes_where_it_can_be_given_it() -> None:
    delivery = Delivery(settings(sites={"r": REST, "e": {}, "g": {**REST, "staging": "gateway"}}))
    secret = {"inputs": [{"url": "https://open.example.org/in/x", "path": "/a"}]}
    plain = {"inputs": [{"url": "https://open.example.org/index", "path": "/a"}]}
    assert delivery.destinations_for(secret, owner="bob", has_logins=False) == {"e", "g"}
    assert delivery.destinations_for(plain, owner="bob", has_logins=True) == {"e", "g"}
    assert delivery.destinations_for(plain, owner="bob", has_logins=False) == {"r", "e", "g"}
