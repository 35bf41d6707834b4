"""A stand-in for S3 that costs next to nothing: a benchmark of clients must not measure its server.

It checks no signature and hashes nothing (its ETags say so, as S3's do under a key of one's own), and moves
bytes between sockets and files in the kernel; of what is sent to `BUCKET/sink/` it keeps only the length.
It may wait before each answer, as a store does that is not on the same machine. A GET of a name that ends in
a slash is an index page, as a web server has it.
"""

import multiprocessing
import os
import secrets
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_SPLICE_BYTES = 1024**2
_NOWHERE = Path(os.devnull)
_OPAQUE_ETAG = '"0123456789abcdef0123456789abcdef"\r\nx-amz-server-side-encryption: aws:kms'


class _Part(NamedTuple):
    path: Path
    size_bytes: int


class _Objects:
    """Each object is the files of its parts, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts: dict[str, list[_Part]] = {}
        self.uploads: dict[str, dict[int, _Part]] = {}
        self.lock = threading.Lock()

    def new_file(self, key: str) -> Path:
        """Where to write a part of the object."""
        return _NOWHERE if key.partition("/")[2].startswith("sink/") else self.folder / secrets.token_hex(16)

    def size_bytes(self, key: str) -> int:
        return sum(part.size_bytes for part in self.parts[key])


class _Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    server: "ObjectStore"

    def handle(self) -> None:
        self._pipe = os.pipe()
        try:
            while self._answer_one():
                pass
        except ConnectionError:
            pass
        finally:
            for end in self._pipe:
                os.close(end)

    def _answer_one(self) -> bool:
        head = self.rfile.readline(65536).decode("latin-1").split()
        if len(head) != 3:
            return False
        headers = dict(self._headers())
        method, target = head[0], urlsplit(head[1])
        query = parse_qs(target.query, keep_blank_values=True)
        key = unquote(target.path).lstrip("/")
        if headers.get("expect"):
            self._write("HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(self.server.latency_s)
        {"GET": self._get, "HEAD": self._head, "PUT": self._put, "POST": self._post, "DELETE": self._delete}[
            method
        ](key, query, headers)
        return True

    def _headers(self) -> Iterator[tuple[str, str]]:
        while line := self.rfile.readline(65536).strip():
            name, _, value = line.decode("latin-1").partition(":")
            yield name.lower(), value.strip()

    def _get(self, key: str, query: dict[str, list[str]], headers: dict[str, str]) -> None:
        objects = self.server.objects
        if "list-type" in query:
            return self._list(key.rstrip("/"), query)
        if key.endswith("/"):
            return self._index(key)
        if key not in objects.parts:
            return self._say("404 Not Found", "<Error><Code>NoSuchKey</Code></Error>")
        total = objects.size_bytes(key)
        first, last, status = 0, total - 1, "200 OK"
        more = ""
        if wanted := headers.get("range", "").removeprefix("bytes="):
            start, _, end = wanted.partition("-")
            first, last, status = int(start), min(int(end or last), last), "206 Partial Content"
            more = f"Content-Range: bytes {first}-{last}/{total}\r\n"
        self._write(
            f"HTTP/1.1 {status}\r\nETag: {_OPAQUE_ETAG}\r\nContent-Length: {last - first + 1}\r\n{more}\r\n"
        )
        return self._send_files(objects.parts[key], first, last + 1)

    def _send_files(self, parts: list[_Part], first: int, end: int) -> None:
        begin = 0
        for path, size_bytes in parts:
            with path.open("rb") as file:
                position = max(first - begin, 0)
                while position < min(end - begin, size_bytes):
                    left = min(end - begin, size_bytes) - position
                    position += os.sendfile(self.connection.fileno(), file.fileno(), position, left)
            begin += size_bytes

    def _index(self, begin: str) -> None:
        names = [key.removeprefix(begin) for key in self.server.objects.parts if key.startswith(begin)]
        links = "".join(f'<a href="{name}">{name}</a>\n' for name in sorted(names))
        self._say("200 OK", f"<html><title>Index of {begin}</title>{links}</html>", "text/html")

    def _list(self, bucket: str, query: dict[str, list[str]]) -> None:
        objects = self.server.objects
        begin = f"{bucket}/{query.get('prefix', [''])[0]}"
        after = query.get("continuation-token", [""])[0]
        names = sorted(key for key in objects.parts if key.startswith(begin) and key > after)
        items = "".join(
            f"<Contents><Key>{escape(name[len(bucket) + 1 :])}</Key><Size>{objects.size_bytes(name)}</Size>"
            "</Contents>"
            for name in names[:1000]
        )
        more = f"<NextContinuationToken>{escape(names[999])}</NextContinuationToken>" if names[1000:] else ""
        cut = "true" if more else "false"
        self._say(
            "200 OK",
            f"<ListBucketResult><IsTruncated>{cut}</IsTruncated>{more}{items}</ListBucketResult>",
        )

    def _head(self, key: str, _: dict[str, list[str]], __: dict[str, str]) -> None:
        objects = self.server.objects
        known = key in objects.parts
        size_bytes = objects.size_bytes(key) if known else 0
        status = "200 OK" if known else "404 Not Found"
        self._write(f"HTTP/1.1 {status}\r\nETag: {_OPAQUE_ETAG}\r\nContent-Length: {size_bytes}\r\n\r\n")

    def _put(self, key: str, query: dict[str, list[str]], headers: dict[str, str]) -> None:
        objects = self.server.objects
        part = _Part(objects.new_file(key), int(headers["content-length"]))
        self._receive(*part)
        with objects.lock:
            if "uploadId" in query:
                objects.uploads[query["uploadId"][0]][int(query["partNumber"][0])] = part
            else:
                self._replace(key, [part])
        self._write(f"HTTP/1.1 200 OK\r\nETag: {_OPAQUE_ETAG}\r\nContent-Length: 0\r\n\r\n")

    def _receive(self, path: Path, size_bytes: int) -> None:
        with path.open("wb") as file:
            # What came together with the head lies in the reader's buffer already.
            early = self.rfile.read1(min(size_bytes, len(self.rfile.peek()))) if size_bytes else b""  # type: ignore[attr-defined]
            file.write(early)
            file.flush()
            left = size_bytes - len(early)
            while left:
                moved = os.splice(self.connection.fileno(), self._pipe[1], min(left, _SPLICE_BYTES))
                if not moved:
                    raise ConnectionError
                left -= moved
                while moved:
                    moved -= os.splice(self._pipe[0], file.fileno(), moved)

    def _post(self, key: str, query: dict[str, list[str]], headers: dict[str, str]) -> None:
        objects = self.server.objects
        self.rfile.read(int(headers.get("content-length", "0")))
        if "uploads" in query:
            upload = secrets.token_hex(8)
            objects.uploads[upload] = {}
            return self._say(
                "200 OK",
                f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>",
            )
        with objects.lock:
            parts = objects.uploads.pop(query["uploadId"][0])
            self._replace(key, [parts[number] for number in sorted(parts)])
        return self._say(
            "200 OK",
            '<CompleteMultipartUploadResult><ETag>"0123456789abcdef0123456789abcdef-1"</ETag>'
            "</CompleteMultipartUploadResult>",
        )

    def _delete(self, key: str, _: dict[str, list[str]], __: dict[str, str]) -> None:
        with self.server.objects.lock:
            self._replace(key, [])
        self._write("HTTP/1.1 204 No Content\r\n\r\n")

    def _replace(self, key: str, parts: list[_Part]) -> None:
        for old in self.server.objects.parts.pop(key, []):
            if old.path != _NOWHERE:
                old.path.unlink()
        if parts:
            self.server.objects.parts[key] = parts

    def _say(self, status: str, text: str, kind: str = "application/xml") -> None:
        length = len(text.encode())
        self._write(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{text}")

    def _write(self, text: str) -> None:
        self.connection.sendall(text.encode())


class ObjectStore(socketserver.ThreadingTCPServer):
    """Objects in files below `folder`, which stays as it is at the end."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: Path, latency_s: float) -> None:
        self.objects = _Objects(folder)
        self.latency_s = latency_s
        super().__init__(("127.0.0.1", 0), _Handler)


def _serve(folder: Path, latency_s: float, port: "Connection") -> None:
    with ObjectStore(folder, latency_s) as server:
        port.send(server.server_address[1])
        server.serve_forever()


def processor_s(pid: int) -> float:
    """The processor time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class RunningStore(NamedTuple):
    """Where a store is, and its process."""

    url: str
    pid: int

    def processor_s(self) -> float:
        """The processor time that it has used."""
        return processor_s(self.pid)


@contextmanager
def object_store(folder: Path, *, latency_s: float = 0.0) -> Iterator[RunningStore]:
    """The store in a process of its own."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=_serve, args=(folder, latency_s, theirs), daemon=True)
    process.start()
    try:
        assert process.pid is not None
        yield RunningStore(f"http://127.0.0.1:{ours.recv()}", process.pid)
    finally:
        process.terminate()
        process.join()
