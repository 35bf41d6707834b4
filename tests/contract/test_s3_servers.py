"""S3 transfers against real servers: files and directories, both ways, and what the servers refuse."""

import hashlib
from pathlib import Path

import pytest

from tesp_api.settings import CredentialSettings
from tesp_api.worker.errors import StagingError
from tesp_api.worker.transfer import s3
from tests.contract.s3_site import Bucket, Signing

pytestmark = pytest.mark.services

CONTENT = bytes(range(256)) * 4000
NAMES = ["plain", "with space", "a#b", "50%25", "ümläut", "q?x=1", "plus+and&", "${filename}", "~tilde'(!)*"]


def test_a_file_goes_out_and_comes_back(bucket: Bucket) -> None:
    moved = bucket.send(CONTENT, "dir/x")
    assert moved == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert bucket.content("dir/x") == CONTENT
    assert bucket.fetch("dir/x") == CONTENT


def test_an_empty_file(bucket: Bucket) -> None:
    assert bucket.send(b"", "empty").size_bytes == 0
    assert bucket.content("empty") == b""
    assert bucket.fetch("empty") == b""


def test_an_output_replaces_what_is_there(bucket: Bucket) -> None:
    bucket.store("x", b"old and longer")
    bucket.send(b"new", "x")
    assert bucket.content("x") == b"new"


@pytest.mark.parametrize("name", NAMES)
def test_names_are_taken_letter_by_letter(bucket: Bucket, name: str) -> None:
    bucket.send(b"1", f"out/{name}")
    assert bucket.keys() == [f"out/{name}"]
    assert bucket.fetch(f"out/{name}") == b"1"


def test_a_directory_comes_with_all_names_and_its_empty_directories(bucket: Bucket) -> None:
    for name in NAMES:
        bucket.store(f"tree/{name}", name.encode())
        bucket.store(f"tree/sub dir/deep#/{name}", name.encode())
    bucket.store("tree/empty/", b"")
    bucket.store("treetop", b"not below")
    root = bucket.fetch_tree("tree")
    found = {str(path.relative_to(root)) for path in root.rglob("*")}
    below = {f"sub dir/deep#/{name}" for name in NAMES}
    assert found == {*NAMES, *below, "empty", "sub dir", "sub dir/deep#"}
    for name in (*NAMES, *below):
        assert (root / name).read_text() == Path(name).name
    assert (root / "empty").is_dir()
    assert bucket.lender.asked.count("get") == 2 * len(NAMES)


def test_a_whole_bucket_is_a_directory(bucket: Bucket) -> None:
    bucket.store("a")
    bucket.store("b/c")
    root = bucket.fetch_tree("")
    assert (root / "a").read_bytes() == (root / "b" / "c").read_bytes() == b"x"


def test_a_long_list_comes_in_pages(bucket: Bucket) -> None:
    for number in range(7):
        bucket.store(f"many/{number} +&%")
    bucket.lender.page_keys = "3"
    root = bucket.fetch_tree("many/")
    assert {path.name for path in root.iterdir()} == {f"{number} +&%" for number in range(7)}
    assert bucket.lender.asked.count("list") == 3


def test_an_empty_directory_becomes_a_key_with_a_slash(bucket: Bucket) -> None:
    s3.make_directory(bucket.url("out/none"), bucket.site())
    s3.make_directory(f"s3://{bucket.name}", bucket.site())
    assert bucket.keys() == ["out/none/"]
    assert list((bucket.fetch_tree("out") / "none").iterdir()) == []


def test_a_directory_without_keys_does_not_exist(bucket: Bucket) -> None:
    bucket.store("tree")
    with pytest.raises(StagingError, match="no such directory"):
        bucket.fetch_tree("tree")


def test_a_prefix_is_no_file_and_the_type_to_give_is_named(bucket: Bucket) -> None:
    bucket.store("tree/a")
    with pytest.raises(StagingError, match="must be DIRECTORY"):
        bucket.fetch("tree")


@pytest.mark.parametrize("key", ["tree/a/../b", "tree/a//b", "tree/./a"])
def test_keys_that_no_disk_can_hold_are_refused(strict_bucket: Bucket, key: str) -> None:
    strict_bucket.store(key)
    with pytest.raises(StagingError, match="cannot be a file's name"):
        strict_bucket.fetch_tree("tree")


def test_a_file_that_is_a_directory_too_is_refused(bucket: Bucket) -> None:
    bucket.store("tree/a")
    bucket.store("tree/a/b")
    with pytest.raises(StagingError, match="'a' is a file and a directory at once"):
        bucket.fetch_tree("tree")


def test_a_missing_key_is_final_and_named_by_the_server(bucket: Bucket) -> None:
    with pytest.raises(StagingError, match=r"s3://.*/none: NoSuchKey.*404.*tried once"):
        bucket.fetch("none")


@pytest.mark.parametrize("way", ["in", "out", "tree"])
def test_a_missing_bucket_is_final_and_named_by_the_server(bucket: Bucket, way: str) -> None:
    bucket.name = "no-such-bucket-anywhere"
    with pytest.raises(StagingError, match=r"NoSuchBucket.*tried once"):
        if way == "in":
            bucket.fetch("x")
        elif way == "out":
            bucket.send(b"x", "x")
        else:
            bucket.fetch_tree("x")


def test_a_forged_signature_is_refused(strict_bucket: Bucket) -> None:
    strict_bucket.store("x")
    strict_bucket.lender.rule = strict_bucket.place.credential(secret_access_key="another")
    with pytest.raises(StagingError, match=r"SignatureDoesNotMatch.*403.*tried once") as refused:
        strict_bucket.fetch("x")
    assert strict_bucket.place.access_key_id not in str(refused.value)
    with pytest.raises(StagingError, match="SignatureDoesNotMatch"):
        strict_bucket.send(b"y", "x")
    assert strict_bucket.content("x") == b"x"


def test_keys_that_do_not_exist_are_refused(strict_bucket: Bucket) -> None:
    strict_bucket.lender.rule = strict_bucket.place.credential(access_key_id="AKIANOBODY")
    with pytest.raises(StagingError, match="InvalidAccessKeyId") as refused:
        strict_bucket.fetch("x")
    assert "AKIANOBODY" not in str(refused.value)


def test_without_keys_only_what_is_public_is_there(strict_bucket: Bucket) -> None:
    strict_bucket.client.put_object(Bucket=strict_bucket.name, Key="public", Body=b"p", ACL="public-read")
    strict_bucket.store("private")
    endpoint = strict_bucket.place.endpoint
    site = strict_bucket.site(Signing(CredentialSettings(url_prefix="s3://", endpoint=endpoint)))
    assert strict_bucket.fetch("public", site) == b"p"
    with pytest.raises(StagingError, match="AccessDenied"):
        strict_bucket.fetch("private", site)


def test_a_name_that_is_no_utf_8_is_refused_before_anything_is_sent(bucket: Bucket) -> None:
    with pytest.raises(StagingError, match="no UTF-8"):
        bucket.send(b"x", "out/\udcff")
    assert bucket.lender.asked == []
