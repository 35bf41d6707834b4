"""The signer: against the vector of Amazon's documentation, and against botocore's own client."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.session
import pytest
from botocore.config import Config

from tesp_api.errors import InvalidRequest
from tesp_api.settings import CredentialSettings
from tesp_api.storage.s3_signing import S3Signer

KEYS = {
    "access_key_id": "AKIAIOSFODNN7EXAMPLE",
    "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}
NOW = datetime(2013, 5, 24, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: NOW)


def rule(**more: Any) -> CredentialSettings:
    return CredentialSettings(url_prefix="s3://", **{**KEYS, "endpoint": "https://s3.amazonaws.com", **more})


def query_of(url: str) -> dict[str, str]:
    return {name: value[0] for name, value in parse_qs(urlsplit(url).query, keep_blank_values=True).items()}


def test_the_vector_of_the_documentation() -> None:
    """Source: Amazon S3 API reference, "Authenticating requests: using query parameters"."""
    signed = S3Signer().sign("get", "s3://examplebucket/test.txt", {}, rule(path_style=False), 86400)
    assert signed.method == "GET"
    assert signed.url.startswith("https://examplebucket.s3.amazonaws.com/test.txt?")
    signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    assert query_of(signed.url)["X-Amz-Signature"] == signature


@pytest.mark.parametrize("key", ["plain", "a b/c#d?e%20+&=", "ü/~-._", "//double/", "semi;colon,'()*!:@$"])
@pytest.mark.parametrize("token", [None, "a/session+token=="])
def test_urls_are_those_of_botocore(key: str, token: str | None) -> None:
    client: Any = botocore.session.get_session().create_client(
        "s3",
        region_name="eu-central-1",
        endpoint_url="http://127.0.0.1:9000",
        aws_access_key_id=KEYS["access_key_id"],
        aws_secret_access_key=KEYS["secret_access_key"],
        aws_session_token=token,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    theirs = client.generate_presigned_url("get_object", {"Bucket": "lab", "Key": key}, ExpiresIn=3600)
    ours = rule(endpoint="http://127.0.0.1:9000/", region="eu-central-1", session_token=token)
    url = S3Signer().sign("get", f"s3://lab/{key}", {}, ours).url
    assert urlsplit(url).path == urlsplit(theirs).path
    assert query_of(url) == query_of(theirs)


@pytest.mark.parametrize(
    ("operation", "parameters", "method", "query"),
    [
        ("head", {}, "HEAD", {}),
        ("put", {}, "PUT", {}),
        ("create_upload", {}, "POST", {"uploads": ""}),
        (
            "upload_part",
            {"uploadId": "a+/=", "partNumber": "7"},
            "PUT",
            {"uploadId": "a+/=", "partNumber": "7"},
        ),
        ("list_parts", {"uploadId": "u"}, "GET", {"uploadId": "u"}),
        ("complete_upload", {"uploadId": "u"}, "POST", {"uploadId": "u"}),
        ("abort_upload", {"uploadId": "u"}, "DELETE", {"uploadId": "u"}),
    ],
)
def test_operations(operation: str, parameters: dict[str, str], method: str, query: dict[str, str]) -> None:
    signed = S3Signer().sign(operation, "s3://lab/dir/key", parameters, rule())
    assert (signed.method, signed.headers) == (method, {})
    assert urlsplit(signed.url).path == "/lab/dir/key"
    found = query_of(signed.url)
    assert {name: value for name, value in found.items() if not name.startswith("X-Amz-")} == query


def test_a_list_is_one_of_the_bucket() -> None:
    parameters = {"prefix": "dir #1/", "continuation-token": "t"}
    signed = S3Signer().sign("list", "s3://lab/dir #1", parameters, rule())
    assert urlsplit(signed.url).path == "/lab"
    assert query_of(signed.url).items() >= {"list-type": "2", "encoding-type": "url", **parameters}.items()


@pytest.mark.parametrize(
    ("more", "bucket", "address"),
    [
        ({}, "lab", "https://s3.amazonaws.com/lab/k"),
        ({"endpoint": None, "region": "eu-west-1"}, "lab", "https://s3.eu-west-1.amazonaws.com/lab/k"),
        ({"endpoint": None, "region": "cn-north-1"}, "lab", "https://s3.cn-north-1.amazonaws.com.cn/lab/k"),
        ({"endpoint": "http://host:9000/s3/"}, "lab", "http://host:9000/s3/lab/k"),
        ({"endpoint": "http://host:9000", "path_style": False}, "lab", "http://lab.host:9000/k"),
        ({"path_style": False}, "lab.example", "https://s3.amazonaws.com/lab.example/k"),
    ],
)
def test_addresses(more: dict[str, Any], bucket: str, address: str) -> None:
    assert S3Signer().sign("get", f"s3://{bucket}/k", {}, rule(**more)).url.partition("?")[0] == address


def test_without_keys_nothing_is_signed() -> None:
    public = rule(access_key_id=None, secret_access_key=None)
    assert S3Signer().sign("get", "s3://lab/k", {}, public).url == "https://s3.amazonaws.com/lab/k"
    assert S3Signer().form("s3://lab/k", False, public).fields == {}


@pytest.mark.parametrize(("is_prefix", "condition"), [(True, "starts-with"), (False, "eq")])
def test_a_form_and_its_policy(is_prefix: bool, condition: str) -> None:
    form = S3Signer().form("s3://lab/out/", is_prefix, rule(max_upload_bytes=7, session_token="t"))
    policy = json.loads(base64.b64decode(form.fields["policy"]))
    assert form.url == "https://s3.amazonaws.com/lab"
    assert {"bucket": "lab"} in policy["conditions"]
    assert [condition, "$key", "out/"] in policy["conditions"]
    assert ["content-length-range", 0, 7] in policy["conditions"]
    assert {"x-amz-security-token": "t"} in policy["conditions"]
    assert "key" not in form.fields
    secret = b"AWS4" + KEYS["secret_access_key"].encode()
    for part in ("20130524", "us-east-1", "s3", "aws4_request"):
        secret = hmac.digest(secret, part.encode(), hashlib.sha256)
    signature = hmac.digest(secret, form.fields["policy"].encode(), hashlib.sha256).hex()
    assert form.fields["x-amz-signature"] == signature


def test_a_key_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="none of Unicode"):
        S3Signer().sign("get", "s3://lab/\udcff", {}, rule())
