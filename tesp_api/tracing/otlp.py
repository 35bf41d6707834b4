"""Sends spans by OTLP over HTTP, with OpenTelemetry's SDK, which is imported only where this is used."""

import asyncio
import logging
import threading
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from tesp_api.errors import SettingsError
from tesp_api.metrics.instruments import Count
from tesp_api.settings_monitoring import TracingSettings
from tesp_api.tracing.span import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

_QUEUE_SPANS = 16_384
_SEND_EVERY_MS = 1000.0
_TIMEOUT_S = 10.0
_LAST_S = 5.0

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_log = logging.getLogger(__name__)


class OtlpSink:
    """A thread of the SDK's sends what is given here, in batches; what it has no room for is dropped."""

    def __init__(self, settings: TracingSettings, unsent: Count) -> None:
        """Nothing is connected to yet. `unsent` counts spans that the collector did not take, in that thread.

        Raises:
            SettingsError: the extra `otel` is not installed.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        except ImportError as error:
            raise SettingsError(
                f"tracing.url needs the extra `otel`, of which {error.name} is not installed: see "
                "docs/monitoring.md, or leave tracing.url out"
            ) from None
        headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        exporter = _counting(OTLPSpanExporter, unsent)(
            endpoint=settings.url, headers=headers, timeout=_TIMEOUT_S
        )
        self._processor = BatchSpanProcessor(
            exporter, max_queue_size=_QUEUE_SPANS, schedule_delay_millis=_SEND_EVERY_MS
        )
        self._resource = Resource.create(
            {"service.name": settings.service_name, "service.version": version("tesp-api")}
        )
        self._scope = InstrumentationScope("tesp_api", version("tesp-api"))

    def emit(self, span: Span) -> None:
        """Have it sent soon."""
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanKind, Status, StatusCode

        one = ReadableSpan(
            span.name,
            context=_context(span.trace_id, span.span_id),
            parent=_context(span.trace_id, span.parent_id) if span.parent_id else None,
            resource=self._resource,
            attributes=dict(span.attributes),
            kind=SpanKind.SERVER if span.is_request else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
            start_time=_nanoseconds(span.began_at),
            end_time=_nanoseconds(max(span.began_at, span.ended_at)),
            instrumentation_scope=self._scope,
        )
        self._processor.on_end(one)

    async def aclose(self) -> None:
        """Send what is left, if that does not take long."""
        closing = threading.Thread(target=self._processor.shutdown, name="send last spans", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _LAST_S)
        if closing.is_alive():
            _log.warning("the last spans may not have been sent: the collector does not answer")


def _counting(base: "type[OTLPSpanExporter]", unsent: Count) -> "type[OTLPSpanExporter]":
    """The exporter, with what it could not send counted."""
    from opentelemetry.sdk.trace.export import SpanExportResult

    class Counting(base):  # type: ignore[misc, valid-type]
        def export(self, spans: "Sequence[ReadableSpan]") -> SpanExportResult:
            result: SpanExportResult = SpanExportResult.FAILURE
            try:
                result = super().export(spans)
            finally:
                if result is not SpanExportResult.SUCCESS:
                    unsent.add(by=len(spans))
            return result

    return Counting


def _context(trace_id: str, span_id: str) -> "SpanContext":
    from opentelemetry.trace import SpanContext, TraceFlags

    sampled: Any = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=sampled)


def _nanoseconds(at: datetime) -> int:
    return round((at - _EPOCH).total_seconds() * 1_000_000) * 1000
