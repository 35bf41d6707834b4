"""S3 transfers against a server that answers as it is told: what real ones do once in a long while."""

import os
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tesp_api.worker.cancellation import Cancellation
from tesp_api.worker.errors import StagingError
from tesp_api.worker.order import Patience
from tesp_api.worker.transfer import Moved, Site, Source, s3, s3_multipart
from tesp_api.worker.transfer.guard import Guard
from tesp_api.worker.transfer.lending import Ask, NoLender, Signed
from tesp_api.worker.transfer.s3_etags import etag_of_parts

URL = "s3://lab/x"
METHODS = {"get": "GET", "head": "HEAD", "list": "GET", "put": "PUT", "create_upload": "POST"}
METHODS |= {"upload_part": "PUT", "complete_upload": "POST", "abort_upload": "DELETE"}
CREATED = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
COMPLETED = "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"


def error(code: str) -> str:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>so it is</Message></Error>"


class Scripted(ThreadingHTTPServer, NoLender):
    """Answers each operation with the next of its answers, the last one for ever; lends their URLs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, list[tuple[int, str, dict[str, str]]]] = {}
        self.asked: list[str] = []
        self.bodies: dict[str, bytes] = {}
        self.query = ""

    def sign(self, asks: Sequence[Ask]) -> list[Signed]:
        return [
            Signed(
                METHODS[ask.operation], f"http://127.0.0.1:{self.server_port}/{ask.operation}{self.query}", {}
            )
            for ask in asks
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self) -> None:
        operation = self.path.strip("/").partition("?")[0]
        self.server.asked.append(operation)
        self.server.bodies[operation] = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        waiting = self.server.answers[operation]
        status, body, headers = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if not status:  # it was done, but nobody is told
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    """One that takes an upload of two parts of 4 bytes."""
    monkeypatch.setattr(s3, "SINGLE_MAX_BYTES", 4)
    monkeypatch.setattr(s3_multipart, "part_bytes_for", lambda size_bytes: 4)
    with Scripted() as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        running.answers = {
            "create_upload": [(200, CREATED, {})],
            "upload_part": [(200, "", {"ETag": '"e&t-1"'})],
            "complete_upload": [(200, COMPLETED, {})],
            "head": [(200, "", {"Content-Length": "8", "ETag": '"another"'})],
            "abort_upload": [(204, "", {})],
        }
        yield running
        running.shutdown()


def site(server: Scripted, folder: Path) -> Site:
    patience = Patience(stall_s=5.0, tries=3, pause_s=0.01)
    guard = Guard(local_networks=("127.0.0.0/8",))
    return Site((), Cancellation(str(folder / "cancel")), print, patience, server, lambda: guard)


def send(server: Scripted, folder: Path, content: bytes = b"12345678") -> Moved:
    path = folder / "sent"
    path.write_bytes(content)
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        source = Source(file.fileno(), status.st_size, status.st_mtime_ns, status.st_mode, "sent")
        return s3.send_file(source, URL, site(server, folder))


def test_parts_are_named_in_order(server: Scripted, tmp_path: Path) -> None:
    assert send(server, tmp_path).size_bytes == 8
    assert server.bodies["complete_upload"].decode() == (
        '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        "<Part><PartNumber>1</PartNumber><ETag>&quot;e&amp;t-1&quot;</ETag></Part>"
        "<Part><PartNumber>2</PartNumber><ETag>&quot;e&amp;t-1&quot;</ETag></Part></CompleteMultipartUpload>"
    )


def test_a_success_that_tells_of_an_error_is_none(server: Scripted, tmp_path: Path) -> None:
    server.answers["complete_upload"] = [(200, error("InternalError"), {}), (200, COMPLETED, {})]
    assert send(server, tmp_path).size_bytes == 8
    assert server.asked.count("complete_upload") == 2
    server.answers["complete_upload"] = [(200, error("InvalidPart"), {})]
    with pytest.raises(StagingError, match="s3://lab/x: InvalidPart: so it is"):
        send(server, tmp_path)
    assert server.asked[-1] == "abort_upload"


@pytest.mark.parametrize("answer", ["", "<html><body>Welcome</body></html>", "OK"])
def test_a_success_that_says_something_else_is_none(server: Scripted, tmp_path: Path, answer: str) -> None:
    server.answers["complete_upload"] = [(200, answer, {})]
    with pytest.raises(StagingError, match="CompleteMultipartUploadResult was expected"):
        send(server, tmp_path)


def test_an_answer_that_is_lost_is_made_up_for(server: Scripted, tmp_path: Path) -> None:
    md5s = [
        bytes.fromhex(text)
        for text in ("81dc9bdb52d04dc20036dbd8313ed055", "674f3c2c1a8a6f90461e8a66fb5550ba")
    ]
    whole = {"Content-Length": "8", "ETag": f'"{etag_of_parts(md5s)}"'}
    server.answers |= {
        "complete_upload": [(0, "", {}), (404, error("NoSuchUpload"), {})],
        "head": [(200, "", whole)],
    }
    assert send(server, tmp_path).size_bytes == 8
    server.answers["head"] = [(200, "", {**whole, "ETag": '"of what was there before"'})]
    with pytest.raises(StagingError, match="NoSuchUpload"):
        send(server, tmp_path)


def test_an_upload_of_the_wrong_size_is_no_success(server: Scripted, tmp_path: Path) -> None:
    server.answers["head"] = [(200, "", {"Content-Length": "7"})]
    with pytest.raises(StagingError, match="has stored 7 of 8 bytes"):
        send(server, tmp_path)


def test_a_part_that_became_another_is_sent_again(server: Scripted, tmp_path: Path) -> None:
    server.answers["upload_part"] = [(200, "", {"ETag": f'"{"0" * 32}"'}), (200, "", {"ETag": '"e"'})]
    assert send(server, tmp_path).size_bytes == 8
    assert server.asked.count("upload_part") == 3


def test_a_busy_server_is_asked_again(server: Scripted, tmp_path: Path) -> None:
    busy = (503, error("SlowDown"), {"Retry-After": "0"})
    server.answers["put"] = [busy, busy, (200, "", {"ETag": '"not an md5"'})]
    server.answers["head"] = [(200, "", {"Content-Length": "1"})]
    assert send(server, tmp_path, b"1").size_bytes == 1
    assert server.asked == ["put", "put", "put", "head"]


def test_what_the_server_repeats_of_a_signature_is_hidden(server: Scripted, tmp_path: Path) -> None:
    server.query = "?X-Amz-Credential=HUSHID%2Fus&X-Amz-Signature=hush1&X-Amz-Security-Token=hush%2Btoken"
    said = "of HUSHID/us, HUSHID: hush1 hush+token hush%2Btoken"
    server.answers["get"] = [(403, f"<Error><Code>Wrong</Code><Message>{said}</Message></Error>", {})]
    with pytest.raises(StagingError, match="Wrong: of ") as refused:
        s3.fetch_file(URL, str(tmp_path / "x"), site(server, tmp_path))
    assert "hush" not in str(refused.value).lower()


def test_a_listing_that_never_ends_is_noticed(server: Scripted, tmp_path: Path) -> None:
    page = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    server.answers["list"] = [(200, f"{page}</ListBucketResult>", {})]
    with pytest.raises(StagingError, match="the same token came twice"):
        s3.fetch_directory(URL, str(tmp_path), site(server, tmp_path))


def test_a_listing_with_entities_is_refused(server: Scripted, tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb">]><ListBucketResult>&b;</ListBucketResult>'
    server.answers["list"] = [(200, bomb, {})]
    with pytest.raises(StagingError, match="document type"):
        s3.fetch_directory(URL, str(tmp_path), site(server, tmp_path))
