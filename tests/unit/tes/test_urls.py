import pytest

from tesp_api.tes.urls import SUPPORTED_SCHEMES, file_fault, scheme_of, url_fault
from tesp_api.worker.transfer import SCHEMES


def test_the_worker_transfers_just_the_schemes_that_are_accepted() -> None:
    assert set(SUPPORTED_SCHEMES) == set(SCHEMES) - {""}


@pytest.mark.parametrize(
    "url",
    [
        "http://host/a",
        "https://user:secret@host:8443/a%20b?c=d",
        "HTTP://host/a",
        "http://[::1]:8080/a",
        "http://host/with space/ümlaut",
        "ftp://host/a%20b",
        "ftps://user:p%40ss@host:990//absolute/%23",
        "s3://bucket/a b%20?#+ü/@x",
        "S3://bucket",
        "file:///data/a%20b.txt",
        "file://localhost/data/a",
        "/data/a",
        "/data/a:b?c#d",
    ],
)
def test_a_url_that_is_fine(url: str) -> None:
    assert url_fault(url) is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://host/a#b", "%23"),
        ("sftp://host/key", "http://, https://, ftp://, ftps://, s3://, file://"),
        ("s3://AKIA:secret@bucket/key", "credentials.NAME"),
        ("s3:///key", "the bucket"),
        ("s3://b/key", "3 to 63"),
        ("s3://my bucket/key", "'my bucket'"),
        ("s3://a..b/key", "'a..b'"),
        ("s3://bucket/a/../b", ".."),
        ("s3://bucket/" + "ü" * 513, "1026 bytes"),
        ("s3://bucket/\ud800", "Unicode"),
        ("gs://bucket/key", "'gs' is not supported"),
        ("javascript:alert(1)", "not supported"),
        ("data/a", "not absolute"),
        ("//host/a", None),
        ("http:/host/a", "write http://"),
        ("file:/data/a", "write file://"),
        ("http:///a", "no host"),
        ("http://", "no host"),
        ("http://ho st/a", "no host"),
        ("http://host:port/a", "malformed"),
        ("http://host:99999/a", "malformed"),
        ("http://[::1/a", "malformed"),
        ("http://host/a?b=ü", "percent-encode"),
        ("http://host/a\r\nX: y", "control characters"),
        ("ftp://host", "names no file"),
        ("ftp:///a", "no host"),
        ("ftp://host/a?b", "%3F"),
        ("ftp://host/a#b", "%23"),
        ("ftps://host/a%0D%0ADELE%20b", "line break"),
        ("file://server/data/a", "host 'server'"),
        ("file://", "names no file"),
        ("file:///", "names no file"),
        ("file:///a%00b", "%00"),
    ],
)
def test_a_url_that_is_not(url: str, said: str | None) -> None:
    fault = url_fault(url)
    assert (fault is None) if said is None else (said in (fault or ""))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://bucket", "no key"),
        ("s3://bucket/", "no key"),
        ("s3://bucket/a/", "DIRECTORY"),
        ("s3://bucket/a", None),
        ("http://host/", None),
    ],
)
def test_what_a_file_of_s3_is_called(url: str, said: str | None) -> None:
    fault = file_fault(url)
    assert (fault is None) if said is None else (said in (fault or ""))


def test_a_colon_in_a_path_makes_no_scheme() -> None:
    assert scheme_of("/a:b") == ""
    assert scheme_of("HTTPS://a") == "https"
