"""Where tasks may say that files come from and go to, as far as names tell."""

from typing import Any

import pytest

from tesp_api.settings import Settings
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.storage.url_rules import UrlRules, worker_rules
from tesp_api.worker.errors import StagingError
from tesp_api.worker.transfer.guard import Guard
from tesp_api.worker.urls import http_origin


def fault(url: str, **transfers: Any) -> str:
    return UrlRules(Settings.model_validate({"transfers": transfers})).fault(url)


@pytest.mark.parametrize(
    ("transfers", "url", "words"),
    [
        ({}, "https://data.example.org/x", ""),
        ({}, "http://storage.local/x", ""),
        ({}, "http://10.1.2.3:8080/x", ""),
        ({}, "ftp://a-name-of-the-site/x", ""),
        ({}, "s3://bucket/key", ""),
        ({}, "s3://localhost/key", ""),
        ({}, "file:///data/x", ""),
        ({}, "file://localhost/data/x", ""),
        ({}, "/data/x", ""),
        ({}, "http://127.0.0.1/x", "transfers.local_networks"),
        ({}, "HTTPS://user:hush@LocalHost.:8443/x", "transfers.local_networks"),
        ({}, "ftps://[::1]:990/x", "transfers.local_networks"),
        ({}, "http://[::ffff:a9fe:a9fe]/x", "169.254.169.254"),
        ({}, "http://0x7f.1/x", "127.0.0.1"),
        ({"local_networks": ["127.0.0.0/8"]}, "http://127.0.0.1/x", ""),
        ({"local_networks": ["::1/128"]}, "http://localhost/x", ""),
        ({"deny_schemes": ["ftp"]}, "FTP://host/x", "the scheme 'ftp' is refused by transfers.deny_schemes"),
        ({"deny_schemes": ["ftp"]}, "ftps://host/x", ""),
        ({"allow_schemes": ["https", "s3"]}, "http://host/x", "transfers.allow_schemes (https, s3)"),
        ({"allow_schemes": ["https", "s3"]}, "/data/x", "the scheme 'file' is not among"),
        ({"allow_schemes": ["file"]}, "/data/x", ""),
        ({"allow_hosts": ["*.example.org"]}, "http://data.example.org/x", ""),
        ({"allow_hosts": ["*.example.org"]}, "http://example.com/x", "transfers.allow_hosts (*.example.org)"),
        ({"allow_hosts": ["*.example.org"]}, "file:///data/x", ""),
        ({"allow_hosts": ["*.example.org"]}, "s3://bucket/key", ""),
        ({"deny_hosts": ["*.internal"]}, "http://x.INTERNAL./x", "transfers.deny_hosts (*.internal)"),
        ({"allow_buckets": ["lab-*"]}, "s3://lab-1/x", ""),
        (
            {"allow_buckets": ["lab-*"]},
            "s3://other/x",
            "the bucket 'other' is not among transfers.allow_buckets (lab-*)",
        ),
        ({"deny_buckets": ["lab-private"]}, "s3://lab-private/x", "transfers.deny_buckets (lab-private)"),
        ({"allow_networks": ["192.0.2.0/24"]}, "http://192.0.2.1/x", ""),
        (
            {"allow_networks": ["192.0.2.0/24"]},
            "http://198.51.100.1/x",
            "transfers.allow_networks (192.0.2.0/24)",
        ),
        ({"allow_networks": ["192.0.2.0/24"]}, "http://any.name/x", ""),
        ({"deny_networks": ["10.0.0.0/8"]}, "http://167772161/x", "transfers.deny_networks"),
    ],
)
def test_a_url(transfers: dict[str, Any], url: str, words: str) -> None:
    found = fault(url, **transfers)
    assert words in found if words else found == ""
    assert "hush" not in found


def test_every_place_is_named_at_once_and_content_is_none() -> None:
    rules = UrlRules(Settings())
    document = {
        "inputs": [
            {"path": "/a", "url": "http://127.0.0.1/a"},
            {"path": "/b", "url": "http://127.0.0.1/b", "content": "wins"},
            {"path": "/c", "url": "http://example.org/c"},
            {"path": "/d", "content": ""},
        ],
        "outputs": [{"path": "/e", "url": "ftp://169.254.169.254/e"}],
    }
    assert [one.field for one in rules.faults(document)] == ["inputs[0].url", "outputs[0].url"]


def test_the_worker_gets_the_same_rules_and_trusts_the_endpoints_of_s3() -> None:
    settings = Settings.model_validate(
        {
            "transfers": {
                "deny_hosts": ["x"],
                "allow_networks": ["10.0.0.0/8"],
                "local_networks": ["::1/128"],
            },
            "credentials": {
                "a": {"url_prefix": "s3://a/", "endpoint": "http://127.0.0.1:9000"},
                "b": {"url_prefix": "s3://b/", "endpoint": "https://S3.example.org", "path_style": False},
                "c": {"url_prefix": "s3://c/"},
                "d": {"url_prefix": "http://[::1]/"},
            },
        }
    )
    rules = worker_rules(settings)
    assert rules.trusted == (
        "127.0.0.1:9000",
        "s3.example.org:443",
        "*.s3.example.org:443",
        "s3.us-east-1.amazonaws.com:443",
    )
    assert (rules.deny_hosts, rules.allow_networks, rules.local_networks) == (
        ("x",),
        ("10.0.0.0/8",),
        ("::1/128",),
    )


@pytest.mark.parametrize(
    ("credential", "bucket"),
    [
        ({"endpoint": "http://storage.local:9000"}, "lab"),
        ({"endpoint": "https://s3.example.org", "path_style": False}, "lab"),
        ({"endpoint": "https://s3.example.org", "path_style": False}, "lab.of.dots"),
        ({"region": "eu-west-1"}, "lab"),
        ({"region": "cn-north-1", "path_style": False}, "lab"),
    ],
)
def test_a_worker_that_may_only_use_s3_reaches_its_endpoint(credential: dict[str, Any], bucket: str) -> None:
    settings = Settings.model_validate(
        {
            "transfers": {"allow_schemes": ["s3"], "deny_hosts": ["*"]},
            "credentials": {"lab": {"url_prefix": f"s3://{bucket}/", **credential}},
        }
    )
    url = f"s3://{bucket}/key"
    assert UrlRules(settings).fault(url) == ""
    guard = Guard(*worker_rules(settings))
    signed = S3Signer().sign("get", url, {}, settings.credentials["lab"]).url
    guard.require(signed, *http_origin(signed)[:3])
    with pytest.raises(StagingError, match="allow_schemes"):
        guard.require("https://x.example.org/", "https", "x.example.org", 443)
