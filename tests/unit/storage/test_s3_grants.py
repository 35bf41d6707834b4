"""Which requests of S3 an attempt may have signed."""

from typing import Any

import pytest

from tesp_api.errors import NotLent
from tesp_api.settings import CredentialSettings
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.s3_grants import NEEDED, PARAMETERS, Ask, S3Grants
from tests.factories import make_task

KEYS = {"access_key_id": "key", "secret_access_key": "secret"}
CREDENTIALS = Credentials(
    {
        "lab": CredentialSettings.model_validate({"url_prefix": "s3://lab/", **KEYS}),
        "deep": CredentialSettings.model_validate({"url_prefix": "s3://lab/tree/deep/", **KEYS}),
        "whole": CredentialSettings.model_validate({"url_prefix": "s3://whole", **KEYS}),
        "asked": CredentialSettings.model_validate(
            {"url_prefix": "s3://asked/", "by_name_only": True, **KEYS}
        ),
        "alices": CredentialSettings.model_validate(
            {"url_prefix": "s3://alices/", "users": ["alice"], **KEYS}
        ),
    }
)
INPUTS = [
    {"url": "s3://lab/in/file", "path": "/a"},
    {"url": "s3://lab/tree/", "path": "/b", "type": "DIRECTORY"},
    {"url": "s3://whole", "path": "/c", "type": "DIRECTORY"},
    {"url": "s3://lab/beside", "path": "/d", "content": "wins over the url"},
    {"url": "s3://lab/odd %41 ? # name", "path": "/e"},
    {"url": "s3://nobodys/x", "path": "/f"},
    {"url": "s3://asked/x", "path": "/g"},
    {"url": "s3://alices/x", "path": "/h"},
]
OUTPUTS = [
    {"url": "s3://lab/out/file", "path": "/out/file"},
    {"url": "s3://lab/out/dir", "path": "/out/dir", "type": "DIRECTORY"},
    {"url": "s3://lab/out/glob", "path": "/out/*.txt", "path_prefix": "/out"},
    {"url": "s3://lab/out/no-glob", "path": "/out/[1]"},
]


def grants(owner: str = "", **more: Any) -> S3Grants:
    return S3Grants(make_task(owner=owner, inputs=INPUTS, outputs=OUTPUTS, **more), CREDENTIALS)


def ask(operation: str, url: str, **parameters: str) -> Ask:
    needed = dict.fromkeys(NEEDED.get(operation, ()), "1")
    return Ask(operation, url, needed | parameters)


@pytest.mark.parametrize(
    ("operation", "url"),
    [
        ("get", "s3://lab/in/file"),
        ("head", "s3://lab/in/file"),
        ("get", "s3://lab/tree/a"),
        ("get", "s3://lab/tree/a/b c/%2e%2e"),
        ("get", "s3://lab/tree/..a"),
        ("get", "s3://whole/any/thing"),
        ("get", "s3://lab/odd %41 ? # name"),
        ("put", "s3://lab/out/file"),
        ("head", "s3://lab/out/file"),
        ("create_upload", "s3://lab/out/file"),
        ("upload_part", "s3://lab/out/dir/x"),
        ("list_parts", "s3://lab/out/dir/x/y"),
        ("complete_upload", "s3://lab/out/glob/x.txt"),
        ("abort_upload", "s3://lab/out/file"),
    ],
)
def test_what_the_task_declares_is_signed(operation: str, url: str) -> None:
    assert grants().credential_for(ask(operation, url)).name in ("lab", "whole")


@pytest.mark.parametrize(
    ("operation", "url"),
    [
        ("get", "s3://lab/in/file2"),
        ("get", "s3://lab/in/file/below"),
        ("get", "s3://lab/in"),
        ("get", "s3://lab"),
        ("get", "s3://lab/in/fil%65"),
        ("get", "s3://other/in/file"),
        ("get", "https://lab/in/file"),
        ("get", "s3://x@lab/in/file"),
        ("get", "s3://lab/treetop"),
        ("get", "s3://lab/tree"),
        ("get", "s3://lab/tree/../in/other"),
        ("get", "s3://lab/tree/./x"),
        ("get", "s3://lab/tree/.."),
        ("get", "s3://lab/beside"),
        ("get", "s3://lab/out/file"),
        ("get", "s3://whole"),
        ("get", "s3://whole/"),
        ("head", "s3://whole/"),
        ("put", "s3://lab/in/file"),
        ("put", "s3://lab/tree/a"),
        ("put", "s3://lab/out/dir"),
        ("put", "s3://lab/out/directory"),
        ("put", "s3://lab/out/no-glob/x"),
        ("create_upload", "s3://whole/x"),
        ("abort_upload", "s3://lab/in/file"),
        ("list_parts", "s3://lab/in/file"),
    ],
)
def test_nothing_else_is(operation: str, url: str) -> None:
    with pytest.raises(NotLent, match="declares no such URL") as caught:
        grants().credential_for(ask(operation, url))
    assert caught.value.http_status == 403


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("s3://lab/tree", "tree/"),
        ("s3://lab/tree/", "tree/a/"),
        ("s3://lab", "tree/a"),
        ("s3://whole", ""),
        ("s3://whole", "any"),
        ("s3://lab/in/file", "in/file/"),
    ],
)
def test_a_list_stays_in_a_declared_directory(url: str, prefix: str) -> None:
    assert grants().credential_for(ask("list", url, prefix=prefix))


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("s3://lab/tree", "tree"),
        ("s3://lab/tree", ""),
        ("s3://lab/tree", "in/"),
        ("s3://lab/tree", "treetop/"),
        ("s3://lab/tree", "tree/../in/"),
        ("s3://lab/in", "tree/"),
        ("s3://lab", "in/file"),
        ("s3://lab", "in/file/"),
        ("s3://lab/in/file", "in/file"),
        ("s3://lab/in/file", "in/file/a"),
        ("s3://lab/out/file", "out/file/"),
        ("s3://lab/out/dir", "out/dir/"),
        ("s3://other", "tree/"),
    ],
)
def test_no_list_leaves_it(url: str, prefix: str) -> None:
    with pytest.raises(NotLent):
        grants().credential_for(ask("list", url, prefix=prefix))


def test_the_declared_url_decides_about_the_credential() -> None:
    assert grants().credential_for(ask("get", "s3://lab/tree/deep/x")).name == "lab"


def test_without_a_credential_it_says_what_is_missing() -> None:
    with pytest.raises(NotLent, match=r"\[credentials\.NAME\].*access_key_id"):
        grants().credential_for(ask("get", "s3://nobodys/x"))


def test_credentials_belong_to_users_and_names() -> None:
    for url in ("s3://asked/x", "s3://alices/x"):
        with pytest.raises(NotLent):
            grants().credential_for(ask("get", url))
    assert grants("alice").credential_for(ask("get", "s3://alices/x")).name == "alices"
    named = {"backend_parameters": {"Credentials": "other, asked"}}
    assert grants(resources=named).credential_for(ask("get", "s3://asked/x")).name == "asked"


def test_many_files_are_looked_up_quickly() -> None:
    inputs = [{"url": f"s3://lab/{n}/", "path": f"/{n}", "type": "DIRECTORY"} for n in range(10_000)]
    many = S3Grants(make_task(inputs=inputs), CREDENTIALS)
    for n in range(10_000):
        assert many.credential_for(ask("get", f"s3://lab/{n}/a/b/c/d/e/f"))


def test_every_operation_has_parameters_that_are_known() -> None:
    assert all(NEEDED[operation] <= PARAMETERS[operation] for operation in NEEDED)
