"""A site that cannot ask: requests signed beforehand, against real servers."""

from typing import Any

import pytest

from tesp_api.errors import StagingRefused
from tesp_api.settings import CredentialSettings
from tesp_api.storage import s3_listing
from tesp_api.storage.presigned import presign_task
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.worker.errors import StagingError
from tesp_api.worker.transfer import s3
from tesp_api.worker.transfer.lent_beforehand import LentBeforehand
from tests.contract.s3_site import Bucket

pytestmark = pytest.mark.services

MAX_BYTES = 1000


async def lent(bucket: Bucket, **document: Any) -> dict[str, Any]:
    rule = bucket.place.credential(max_upload_bytes=MAX_BYTES)
    return await presign_task(document, lambda url: rule, S3Signer())


def put_in(bucket: Bucket, key: str, directory: bool = False) -> dict[str, str]:
    return {"path": "/in", "url": bucket.url(key), "type": "DIRECTORY" if directory else "FILE"}


async def test_files_and_directories_come_by_what_was_signed(bucket: Bucket) -> None:
    bucket.store("a b#%", b"file")
    bucket.store("tree/sub/ü +", b"below")
    bucket.store("tree/none/", b"")
    given = await lent(bucket, inputs=[put_in(bucket, "a b#%"), put_in(bucket, "tree/", directory=True)])
    site = bucket.site(LentBeforehand(given))
    assert bucket.fetch("a b#%", site) == b"file"
    root = bucket.fetch_tree("tree/", site)
    assert (root / "sub" / "ü +").read_bytes() == b"below"
    assert (root / "none").is_dir()
    with pytest.raises(StagingError, match="no get of it was signed beforehand"):
        bucket.fetch("another", site)
    assert bucket.place.secret_access_key not in str(given)


async def test_a_directory_that_was_empty_does_not_exist(bucket: Bucket) -> None:
    site = bucket.site(LentBeforehand(await lent(bucket, inputs=[put_in(bucket, "no", directory=True)])))
    with pytest.raises(StagingError, match="no such directory"):
        bucket.fetch_tree("no", site)


async def test_what_cannot_be_listed_is_refused_with_the_servers_reason(bucket: Bucket) -> None:
    bucket.name = "no-such-bucket-anywhere"
    with pytest.raises(StagingRefused, match="anywhere/x: cannot be listed: NoSuchBucket"):
        await lent(bucket, inputs=[put_in(bucket, "x", directory=True)])


async def test_a_directory_with_too_many_files_is_refused(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_listing, "MOST_KEYS", 2)
    for number in range(3):
        bucket.store(f"tree/{number}")
    with pytest.raises(StagingRefused, match="more than 2 files"):
        await lent(bucket, inputs=[put_in(bucket, "tree", directory=True)])


async def test_a_url_without_a_credential_is_refused(bucket: Bucket) -> None:
    with pytest.raises(StagingRefused, match="no credential"):
        await presign_task({"inputs": [put_in(bucket, "x")]}, lambda url: None, S3Signer())


async def test_outputs_go_by_forms(bucket: Bucket) -> None:
    outputs = [
        {"path": "/o/f", "url": bucket.url("file #1")},
        {"path": "/o/d", "url": bucket.url("tree"), "type": "DIRECTORY"},
        {"path": "/o/*.txt", "path_prefix": "/o", "url": bucket.url("texts/")},
    ]
    site = bucket.site(LentBeforehand(await lent(bucket, outputs=outputs)))
    names = ["file #1", "tree/a b/ü%+", "tree/${filename}", "texts/1.txt"]
    for name in names:
        assert bucket.send(name.encode(), name, site).size_bytes == len(name.encode())
    s3.make_directory(bucket.url("tree/none"), site)
    assert bucket.send(b"", "tree/empty", site).size_bytes == 0
    assert sorted(bucket.keys()) == sorted([*names, "tree/none/", "tree/empty"])
    for name in names:
        assert bucket.content(name) == name.encode()


async def test_a_file_that_is_too_large_is_refused_before_it_is_sent(bucket: Bucket) -> None:
    outputs = [{"path": "/o", "url": bucket.url("out")}]
    site = bucket.site(LentBeforehand(await lent(bucket, outputs=outputs)))
    with pytest.raises(StagingError, match=r"has 1001 bytes.*may send 1000 \(max_upload_bytes"):
        bucket.send(b"x" * (MAX_BYTES + 1), "out", site)
    assert bucket.send(b"x" * MAX_BYTES, "out", site).size_bytes == MAX_BYTES


@pytest.mark.parametrize(
    ("key", "size_bytes", "code"),
    [("tree/x", MAX_BYTES, ""), ("tree/x", MAX_BYTES + 1, "EntityTooLarge"), ("other/x", 1, "AccessDenied")],
)
async def test_the_server_keeps_to_the_policy(
    strict_bucket: Bucket, key: str, size_bytes: int, code: str
) -> None:
    outputs = [{"path": "/o", "url": strict_bucket.url("tree"), "type": "DIRECTORY"}]
    given = await lent(strict_bucket, outputs=outputs)
    form = given["forms"][0]
    forged = {**form, "s3_url": f"s3://{strict_bucket.name}/", "max_bytes": 10 * MAX_BYTES}
    site = strict_bucket.site(LentBeforehand({**given, "forms": [forged]}))
    if not code:
        strict_bucket.send(b"x" * size_bytes, key, site)
        assert strict_bucket.keys() == [key]
        return
    with pytest.raises(StagingError, match=f"POST: {code}") as refused:
        strict_bucket.send(b"x" * size_bytes, key, site)
    assert form["fields"]["policy"] not in str(refused.value)
    assert strict_bucket.keys() == []


async def test_a_form_for_one_file_is_for_no_other(strict_bucket: Bucket) -> None:
    given = await lent(strict_bucket, outputs=[{"path": "/o", "url": strict_bucket.url("out")}])
    with pytest.raises(StagingError, match="no put of it was signed beforehand"):
        strict_bucket.send(b"x", "out2", strict_bucket.site(LentBeforehand(given)))
    forged = {**given["forms"][0], "is_prefix": True}
    with pytest.raises(StagingError, match="AccessDenied"):
        strict_bucket.send(b"x", "out2", strict_bucket.site(LentBeforehand({**given, "forms": [forged]})))


async def test_without_keys_a_form_has_no_policy(bucket: Bucket) -> None:
    rule = CredentialSettings(url_prefix="s3://", endpoint=bucket.place.endpoint)
    outputs = [{"path": "/o", "url": bucket.url("out")}]
    given = await presign_task({"outputs": outputs}, lambda url: rule, S3Signer())
    assert given["forms"][0]["fields"] == {}
