"""S3 transfers on bad lines and at bad times: in parts, broken, expired, canceled, corrupted."""

import hashlib
import os
import threading
import time

import pytest

from tesp_api.storage.s3_signing import EXPIRES_S
from tesp_api.worker.errors import Canceled, StagingError
from tesp_api.worker.transfer import s3, s3_multipart
from tests.contract.s3_site import Bucket
from tests.integration.worker_job import wait_until
from tests.services.faulty_proxy import Fault, FaultyProxy

pytestmark = pytest.mark.services

MIB = 2**20
CONTENT = os.urandom(11 * MIB + 77)
SMALL = CONTENT[:900_000]
OLD_S = EXPIRES_S + 600


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As small as servers allow: three parts for CONTENT."""
    monkeypatch.setattr(s3, "SINGLE_MAX_BYTES", MIB)
    monkeypatch.setattr(s3_multipart, "PART_BYTES", 5 * MIB)


def test_a_large_file_goes_in_parts(bucket: Bucket) -> None:
    moved = bucket.send(CONTENT, "large #1")
    assert moved == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert bucket.content("large #1") == CONTENT
    assert bucket.client.head_object(Bucket=bucket.name, Key="large #1")["ETag"].endswith('-3"')
    assert bucket.lender.asked.count("upload_part") == 3
    assert bucket.fetch("large #1") == CONTENT
    assert bucket.uploads() == []


@pytest.mark.parametrize("kind", ["cut", "truncate"])
def test_a_broken_download_is_resumed(bucket: Bucket, kind: str) -> None:
    """No connection carries enough for all of it."""
    bucket.store("x", SMALL)
    with FaultyProxy(bucket.place.port, always=Fault(kind, 400_000)) as proxy:  # type: ignore[arg-type]
        assert bucket.through(proxy.port).fetch("x") == SMALL
    assert len(bucket.lender.asked) >= 3  # a reset connection may lose what had come already


def test_a_corrupted_download_is_fetched_anew(bucket: Bucket) -> None:
    bucket.store("x", SMALL)
    with FaultyProxy(bucket.place.port, Fault("corrupt", 300_000)) as proxy:
        assert bucket.through(proxy.port).fetch("x") == SMALL


def test_a_download_that_is_always_corrupted_is_refused(bucket: Bucket) -> None:
    bucket.store("x", SMALL)
    with (
        FaultyProxy(bucket.place.port, always=Fault("corrupt", 300_000)) as proxy,
        pytest.raises(StagingError, match=r"has the md5 .* the server says .*tried 3 times"),
    ):
        bucket.through(proxy.port).fetch("x")


@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_a_broken_upload_is_sent_again(bucket: Bucket, kind: str) -> None:
    with FaultyProxy(bucket.place.port, Fault(kind, 300_000, way="up")) as proxy:  # type: ignore[arg-type]
        bucket.through(proxy.port).send(SMALL, "x", bucket.site(stall_s=1.0))
    assert bucket.content("x") == SMALL


def test_a_corrupted_upload_does_not_replace_what_is_there(strict_bucket: Bucket) -> None:
    strict_bucket.store("x", b"as it was")
    with (
        FaultyProxy(strict_bucket.place.port, always=Fault("corrupt", 300_000, way="up")) as proxy,
        pytest.raises(StagingError, match="tried 3 times"),
    ):
        strict_bucket.through(proxy.port).send(SMALL, "x")
    assert strict_bucket.content("x") == b"as it was"


@pytest.mark.parametrize("kind", ["cut", "corrupt"])
def test_a_broken_part_is_sent_again_alone(bucket: Bucket, kind: str) -> None:
    fault = Fault(kind, 3 * MIB, way="up")  # type: ignore[arg-type]
    create = [None] if bucket.place.name == "moto" else []  # which closes each connection
    with FaultyProxy(bucket.place.port, *create, fault) as proxy:
        moved = bucket.through(proxy.port).send(CONTENT, "x", bucket.site(at_once=1))
    assert moved == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert bucket.content("x") == CONTENT
    assert bucket.lender.asked.count("upload_part") == 4
    assert bucket.lender.asked.count("create_upload") == 1


def test_an_upload_that_fails_leaves_nothing_behind(bucket: Bucket) -> None:
    with (
        FaultyProxy(bucket.place.port, always=Fault("cut", 3 * MIB, way="up")) as proxy,
        pytest.raises(StagingError, match="tried 3 times"),
    ):
        bucket.through(proxy.port).send(CONTENT, "x", bucket.site(at_once=1))
    assert bucket.uploads() == []
    assert bucket.keys() == []


def test_a_cancel_aborts_the_upload_soon(bucket: Bucket) -> None:
    ended: list[BaseException] = []

    def send() -> None:
        try:
            bucket.send(CONTENT, "x", bucket.site(stall_s=30.0))
        except BaseException as error:
            ended.append(error)

    stalled = Fault("stall", MIB, way="up")
    with FaultyProxy(bucket.place.port, stalled, stalled, stalled) as proxy:
        bucket.through(proxy.port)
        thread = threading.Thread(target=send)
        thread.start()
        wait_until(lambda: bucket.lender.asked.count("upload_part") == 3)
        assert len(bucket.uploads()) == 1
        began = time.monotonic()
        (bucket.folder / "cancel").touch()
        thread.join()
        assert time.monotonic() - began < 5
    assert isinstance(ended[0], Canceled)
    assert bucket.uploads() == []
    assert bucket.keys() == []


def test_what_has_expired_is_signed_anew(strict_bucket: Bucket) -> None:
    strict_bucket.store("tree/x", SMALL)
    strict_bucket.lender.ages_s = [OLD_S]
    assert strict_bucket.fetch("tree/x") == SMALL
    strict_bucket.lender.ages_s = [0, OLD_S]
    assert (strict_bucket.fetch_tree("tree") / "x").read_bytes() == SMALL
    strict_bucket.lender.ages_s = [OLD_S, 0, 0, OLD_S, OLD_S]
    strict_bucket.send(CONTENT, "out")
    assert strict_bucket.content("out") == CONTENT


def test_a_signature_that_is_always_expired_ends_it(strict_bucket: Bucket) -> None:
    strict_bucket.store("x")
    strict_bucket.lender.ages_s = [OLD_S] * 3
    with pytest.raises(StagingError, match=r"AccessDenied.*403.*expired.*tried 3 times"):
        strict_bucket.fetch("x")


def test_a_file_that_changes_while_it_is_sent_is_not_stored(bucket: Bucket) -> None:
    def grow() -> None:
        wait_until(lambda: "upload_part" in bucket.lender.asked)
        with (bucket.folder / "sent").open("ab") as file:
            file.write(b"more")

    thread = threading.Thread(target=grow)
    thread.start()
    with (
        FaultyProxy(bucket.place.port, Fault("cut", MIB, way="up")) as proxy,
        pytest.raises(StagingError, match="changed while it was read"),
    ):
        bucket.through(proxy.port).send(CONTENT, "x", bucket.site(pause_s=1.0))
    thread.join()
    assert (bucket.keys(), bucket.uploads()) == ([], [])
