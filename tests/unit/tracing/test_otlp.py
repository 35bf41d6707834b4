"""Spans on their way to a collector."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tesp_api.metrics.page import Metrics
from tesp_api.settings_monitoring import TracingSettings
from tesp_api.tes.times import now
from tesp_api.tracing.otlp import OtlpSink
from tesp_api.tracing.span import Span
from tests.services.otlp_receiver import otlp_receiver


class _Refusal(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(400)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


@pytest.fixture
def refusing() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusal) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces"
        server.shutdown()
        thread.join()


async def send(url: str, count: int) -> float:
    """Send so many spans; how many are counted as unsent."""
    metrics = Metrics()
    sink = OtlpSink(TracingSettings(url=url), metrics.spans_unsent)
    for _ in range(count):
        sink.emit(Span("task", "ab" * 16, "cd" * 8, "", now(), now()))
    await sink.aclose()
    return metrics.spans_unsent.value()


async def test_what_a_collector_takes_is_not_counted() -> None:
    with otlp_receiver() as collector:
        assert await send(collector.url, 3) == 0
        assert len(collector.spans) == 3


async def test_what_a_collector_refuses_is_counted(refusing: str) -> None:
    assert await send(refusing, 3) == 3
