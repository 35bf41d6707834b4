"""Large files to S3, in parts: several at once, each tried again by itself, and none left behind."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Callable, Iterable
from xml.sax.saxutils import escape

from ..errors import StagingError
from ..parallel import run_together
from ..urls import shown
from . import Moved, Site, Source
from .connection import Exchange
from .lending import Ask, Signed
from .moving import check_unchanged, new_hash
from .retry import Refused, try_often
from .s3 import require_size
from .s3_answers import FOREIGN, Missing, Node, fields_of, read_document, require
from .s3_etags import check_etag, etag_of, etag_of_parts, is_md5
from .signatures import Signatures
from .slices import Slice, digest_of, feed

PART_BYTES = 16 * 1024 * 1024
MOST_PARTS = 10_000
MOST_BYTES = 5 * 1024**4
CALM_S, ABORT_S = 1.0, 1.5
"""The most that a cancel waits for parts on their way, and then for the answer that they are forgotten.

Together less than the API gives a worker before it has it killed.
"""
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def send_in_parts(source: Source, url: str, site: Site) -> Moved:
    """Raises: StagingError, Canceled; the upload is aborted then, as far as S3 answers."""
    if source.size_bytes > MOST_BYTES:
        raise StagingError(f"{shown(url)}: {source.name} has {source.size_bytes} bytes, more than S3 takes")
    upload = _Upload(source, url, site)
    try:
        moved = upload.send()
        try_often(upload.complete, url, site, FOREIGN)
        try_often(lambda: require_size(url, source.size_bytes, site), url, site, FOREIGN)
        return moved
    except BaseException:
        upload.abort()
        raise
    finally:
        upload.close()


def part_bytes_for(size_bytes: int) -> int:
    """How large parts must be so that there are not too many."""
    least = -(-size_bytes // MOST_PARTS)
    return max(PART_BYTES, -(-least // 2**20) * 2**20)


class _Upload:
    """One multipart upload. Its file stays open until no thread reads it any more."""

    def __init__(self, source: Source, url: str, site: Site) -> None:
        self._url, self._site = url, site
        self._source = source._replace(descriptor=os.dup(source.descriptor))
        self._part_bytes = part_bytes_for(source.size_bytes)
        self._count = -(-source.size_bytes // self._part_bytes)
        self._etags: dict[int, str] = {}
        self._id = ""
        self._sha256 = new_hash("sha256")
        self._hashed = 0
        self._turn = threading.Lock()
        self._abort: Signed | None = None
        self._signatures = Signatures(self._count, self._ask_for_part, site.lender)
        self._has_stopped = False
        self._counter = site.progress.begin(source.key, source.size_bytes)
        self._passed: dict[int, int] = {}
        self._busy = 0
        self._calm = threading.Condition()

    def send(self) -> Moved:
        """All parts, several at once."""
        self._id = try_often(self._create, self._url, self._site, FOREIGN)
        self._abort = self._sign("abort_upload")
        calls = [lambda: self._counted(self._hash_and_send)] * self._count
        run_together(calls, self._site.cancellation, self._site.patience.at_once)
        check_unchanged(self._source)
        return Moved(self._source.size_bytes, self._sha256.hexdigest())

    def complete(self) -> None:
        """Make an object of the parts. If that was done by a try whose answer was lost, it is enough."""
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{escape(self._etags[number])}&quot;</ETag></Part>"
            for number in range(1, self._count + 1)
        )
        root = "CompleteMultipartUpload"
        body = f'<{root} xmlns="{NAMESPACE}">{parts}</{root}>'.encode()
        try:
            self._ask("complete_upload", body, "CompleteMultipartUploadResult")
        except Missing:
            if not self._is_there():
                raise

    def abort(self) -> None:
        """Have S3 forget the parts: best effort, and within little time."""
        self._has_stopped = True
        if not self._id:
            return
        with self._calm:
            self._calm.wait_for(lambda: not self._busy, CALM_S)
        done = threading.Event()

        def ask() -> None:
            with contextlib.suppress(Exception):
                self._forget()
            done.set()

        threading.Thread(target=ask, daemon=True).start()
        done.wait(ABORT_S)

    def close(self) -> None:
        """The file stays open if a thread still reads it: its number must not become another file's."""
        with self._calm:
            if not self._busy:
                os.close(self._source.descriptor)

    def _create(self) -> str:
        upload_id = self._ask("create_upload", b"", "InitiateMultipartUploadResult").said("UploadId")
        if not upload_id:
            raise Refused("S3 gave the upload no id")
        return upload_id

    def _hash_and_send(self) -> None:
        """The next part: hashed when it is its turn, and sent while others are hashed.

        So it is read from the disk once, and no part has to wait long for a processor.
        """
        with self._turn:
            number = self._hashed + 1
            feed(self._sha256, self._source, *self._span(number), self._check)
            self._hashed = number
        try_often(lambda: self._send_part(number), self._url, self._site, FOREIGN)

    def _counted(self, call: Callable[[], None]) -> None:
        with self._calm:
            self._busy += 1
        try:
            call()
        finally:
            with self._calm:
                self._busy -= 1
                self._calm.notify_all()

    def _check(self) -> None:
        """Raises: Canceled, StagingError once another part has failed."""
        self._site.cancellation.check()
        if self._has_stopped:
            raise StagingError(f"{shown(self._url)}: given up")

    def _note(self, number: int, passed: int) -> None:
        """Tell how much of a part has gone out. Raises: Canceled, StagingError."""
        self._check()
        with self._calm:
            self._counter.done_bytes += passed - self._passed.get(number, 0)
            self._passed[number] = passed

    def _send_part(self, number: int) -> None:
        """The part's MD5 is only worked out where the ETag is one: it takes longer than all the rest."""
        self._check()
        begin, end = self._span(number)
        signed = self._signatures.take(number - 1)
        part = Slice(self._source, begin, end, lambda passed: self._note(number, passed))
        headers = {**signed.headers, "Content-Length": str(end - begin)}
        with self._exchange(signed, headers, part) as exchange:
            require(exchange, (200,), self._site, fields_of(signed), f"part {number}: ")
        answered = exchange.response.headers
        if not etag_of(answered):
            raise Refused(f"part {number}: S3 gave it no ETag")
        if is_md5(answered):
            check_etag(answered, self._md5_of(number))
        self._etags[number] = etag_of(answered)

    def _is_there(self) -> bool:
        signed = self._site.lender.sign([Ask("head", self._url)])[0]
        with self._exchange(signed, signed.headers) as exchange:
            require(exchange, (200,), self._site, fields_of(signed), "HEAD: ")
        etag = etag_of(exchange.response.headers).lower()
        if not etag.endswith(f"-{self._count}"):
            return False
        return etag == etag_of_parts([self._md5_of(number) for number in range(1, self._count + 1)])

    def _span(self, number: int) -> tuple[int, int]:
        """Where a part begins and ends."""
        begin = (number - 1) * self._part_bytes
        return begin, min(begin + self._part_bytes, self._source.size_bytes)

    def _md5_of(self, number: int) -> bytes:
        return digest_of(self._source, "md5", *self._span(number), self._check)

    def _forget(self) -> None:
        """By the request that was signed at the beginning; if that is too old, by a new one."""
        for is_new in (False, True):
            signed = self._sign("abort_upload") if is_new or self._abort is None else self._abort
            with contextlib.suppress(OSError, *FOREIGN), self._exchange(signed, signed.headers) as exchange:
                if exchange.response.status in (200, 204, 404):
                    return

    def _ask_for_part(self, number: int) -> Ask:
        return Ask("upload_part", self._url, {"uploadId": self._id, "partNumber": str(number + 1)})

    def _sign(self, operation: str, **parameters: str) -> Signed:
        named = {"uploadId": self._id, **parameters} if self._id else parameters
        return self._site.lender.sign([Ask(operation, self._url, named)])[0]

    def _exchange(self, signed: Signed, headers: dict[str, str], body: Iterable[bytes] = ()) -> Exchange:
        stall_s, guard = self._site.patience.stall_s, self._site.guard
        return Exchange(signed.method, signed.url, headers, stall_s, body, guard=guard)

    def _ask(self, operation: str, body: bytes, wanted: str) -> Node:
        """Raises: Passing, Refused, OSError, HTTPException, StagingError, Canceled."""
        signed = self._sign(operation)
        headers = {**signed.headers, "Content-Length": str(len(body))}
        with self._exchange(signed, headers, (body,) if body else ()) as exchange:
            require(exchange, (200,), self._site, fields_of(signed), f"{operation}: ")
            return read_document(exchange.response, self._site, wanted)
