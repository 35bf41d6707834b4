"""What S3 says, read with suspicion: XML, errors, lists, checksums."""

import base64
import hashlib
from email.message import Message
from typing import Any

import pytest

from tesp_api.worker.cancellation import Cancellation
from tesp_api.worker.errors import StagingError
from tesp_api.worker.order import Patience
from tesp_api.worker.transfer import Site
from tesp_api.worker.transfer.retry import Passing, Refused
from tesp_api.worker.transfer.s3_answers import Missing, failure, read_xml
from tesp_api.worker.transfer.s3_etags import check_etag, claims_of, etag_of_parts, is_md5
from tesp_api.worker.transfer.s3_listing import plant, read_page
from tesp_api.worker.transfer.s3_multipart import MOST_BYTES, MOST_PARTS, part_bytes_for

URL = "s3://lab/tree"
MD5 = hashlib.md5(b"x", usedforsecurity=False)


def headers(**named: str) -> Message:
    message = Message()
    for name, value in named.items():
        message[name.replace("_", "-")] = value
    return message


def site(messages: list[str] | None = None) -> Site:
    return Site((), Cancellation("/nowhere"), (messages if messages is not None else []).append, Patience())


def test_xml_with_and_without_prefixes() -> None:
    document = read_xml(b'<s3:A xmlns:s3="urn:x"><s3:B>1 &lt; <![CDATA[2]]></s3:B><s3:B/><C> </C></s3:A>')
    assert document.name == "A"
    assert document.said("B") == "1 < 2"
    assert len(document.all("B")) == 2
    assert document.said("D") == ""


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>'


@pytest.mark.parametrize(
    "data",
    [
        BOMB.encode(),
        BOMB.encode("utf-16"),
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<a>&undefined;</a>",
        b"<a>" * 17 + b"</a>" * 17,
        b"<a>",
        b"",
        b"plain text",
        b"<a/><b/>",
    ],
)
def test_xml_that_is_hostile_or_broken_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_xml(data)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "NoSuchKey", Missing),
        (404, "NoSuchUpload", Missing),
        (404, "NoSuchBucket", Refused),
        (403, "AccessDenied", Refused),
        (403, "SignatureDoesNotMatch", Refused),
        (400, "InvalidPart", Refused),
        (301, "PermanentRedirect", Refused),
        (501, "NotImplemented", Refused),
        (503, "SlowDown", Passing),
        (200, "InternalError", Passing),
        (400, "RequestTimeout", Passing),
        (400, "ExpiredToken", Passing),
        (400, "BadDigest", Passing),
        (429, "", Passing),
        (500, "", Passing),
    ],
)
def test_what_another_try_may_mend(status: int, code: str, kind: type[Exception]) -> None:
    document = read_xml(f"<Error><Code>{code}</Code><Message>it was so</Message></Error>".encode())
    error = failure(status, document)
    assert type(error) is kind
    assert "it was so" in str(error)
    assert f"status {status}" in str(error)


def test_what_has_expired_passes() -> None:
    document = read_xml(b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
    assert isinstance(failure(403, document), Passing)


def page(inner: str) -> Any:
    return read_page(read_xml(f"<ListBucketResult>{inner}</ListBucketResult>".encode()), "tree/")


def test_a_page_of_a_list() -> None:
    found = page(
        "<IsTruncated>true</IsTruncated><NextContinuationToken>t+/=</NextContinuationToken>"
        "<EncodingType>url</EncodingType>"
        "<Contents><Key>tree/a+b%2Bc%23%C3%BC%0A</Key><Size>7</Size></Contents>"
    )
    assert found == ({"a b+c#ü\n": 7}, "t+/=")
    assert page("<Contents><Key>tree/a+b%20</Key><Size>7</Size></Contents>") == ({"a+b%20": 7}, "")


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        ("<Contents><Key>other/a</Key><Size>1</Size></Contents>", "not below"),
        ("<IsTruncated>true</IsTruncated>", "does not say how to go on"),
    ],
)
def test_a_page_of_something_else_is_refused(inner: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        page(inner)


def test_names_become_files_and_directories() -> None:
    messages: list[str] = []
    names = [("", 0), ("a/b/c", 1), ("a/d", 2), ("empty/", 0), ("odd/", 5), ("odd/x", 1), ("e", 0)]
    tree = plant(URL, names, site(messages))
    assert tree.files == ["a/b/c", "a/d", "odd/x", "e"]
    assert tree.directories == ["a", "a/b", "empty", "odd"]
    assert messages == ["Left out the 5 bytes of s3://lab/tree/odd/: it names a directory"]


@pytest.mark.parametrize(
    "name", ["../x", "a/../x", "a/..", "./x", "a//b", "/a", "a//", "/", "a\0b", "..", "../"]
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(StagingError, match="cannot be a file's name"):
        plant(URL, [(name, 1)], site())


@pytest.mark.parametrize("names", [["a", "a/b"], ["a/b", "a"], ["a", "a/"]])
def test_a_file_and_directory_of_one_name_are_refused(names: list[str]) -> None:
    with pytest.raises(StagingError, match="file and a directory at once"):
        plant(URL, [(name, 0) for name in names], site())


def test_nothing_is_no_directory_but_a_marker_is() -> None:
    with pytest.raises(StagingError, match="no key begins with 'tree/'"):
        plant(URL, [], site())
    assert plant(URL, [("", 0)], site()) == ([], [])


def test_etags_that_are_checksums() -> None:
    quoted = f'"{MD5.hexdigest()}"'
    assert is_md5(headers(ETag=quoted, x_amz_server_side_encryption="AES256"))
    assert not is_md5(headers(ETag=quoted, x_amz_server_side_encryption="aws:kms"))
    assert not is_md5(headers(ETag=quoted, x_amz_server_side_encryption_customer_algorithm="AES256"))
    assert not is_md5(headers(ETag=f'"{MD5.hexdigest()}-2"'))
    check_etag(headers(ETag=quoted.upper()), MD5.digest())
    with pytest.raises(Passing, match="something else"):
        check_etag(headers(ETag=quoted), b"\0" * 16)
    assert etag_of_parts([MD5.digest()] * 2).endswith("-2")


def test_checksums_of_whole_objects() -> None:
    sha256 = hashlib.sha256(b"x").digest()
    encoded = base64.b64encode(sha256).decode()
    claims = claims_of(headers(ETag=f'"{MD5.hexdigest()}"', x_amz_checksum_sha256=encoded))
    assert dict(claims) == {"md5": MD5.digest(), "sha256": sha256}
    assert claims_of(headers(x_amz_checksum_sha256=f"{encoded}-3")) == ()
    assert claims_of(headers(x_amz_checksum_sha256=encoded, x_amz_checksum_type="COMPOSITE")) == ()


@pytest.mark.parametrize("size_bytes", [1, 16 * 2**20 + 1, 160_000 * 2**20, 160_000 * 2**20 + 1, MOST_BYTES])
def test_there_are_never_too_many_parts(size_bytes: int) -> None:
    part_bytes = part_bytes_for(size_bytes)
    assert 16 * 2**20 <= part_bytes <= 5 * 2**30
    assert -(-size_bytes // part_bytes) <= MOST_PARTS
