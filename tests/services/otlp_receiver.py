"""A collector that keeps the spans it is sent, by OTLP over HTTP, as a real one would read them."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class OtlpReceiver:
    """`spans` are all that came, oldest first, as plain values."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    def named(self, name: str, trace_id: str | None = None) -> list[dict[str, Any]]:
        """The spans with this name, of one trace or of all."""
        return [
            one
            for one in list(self.spans)
            if one["name"] == name and (trace_id is None or one["trace_id"] == trace_id)
        ]

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        self.headers.append(headers)
        request = ExportTraceServiceRequest()
        request.ParseFromString(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
        for resource in request.resource_spans:
            service = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_plain(span, service.get("service.name", "")) for span in scope.spans]


def _plain(span: Any, service: str) -> dict[str, Any]:
    return {
        "service": service,
        "name": span.name,
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_id": span.parent_span_id.hex(),
        "began_ns": span.start_time_unix_nano,
        "ended_ns": span.end_time_unix_nano,
        "is_error": span.status.code == 2,
        "error": span.status.message,
        "is_server": span.kind == 2,
        "attributes": {
            one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes
        },
    }


@contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """Listens on a free port while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.take(body, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = OtlpReceiver(f"http://127.0.0.1:{server.server_port}/v1/traces")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
