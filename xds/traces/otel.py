"""Spans to an OpenTelemetry collector: OTLP over HTTP, from a thread of the SDK. Imported only where traces are on."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import Status, StatusCode, set_span_in_context

from xds import __version__
from xds.traces.spans import Span


class Otlp:
    """What can't be sent is dropped: the queue holds 2,048 spans, and the SDK says so in its log."""

    def __init__(self, endpoint: str, share: float) -> None:
        resource = Resource.create({"service.name": "pointsman", "service.version": __version__})
        self._provider = TracerProvider(sampler=TraceIdRatioBased(share), resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=5)))
        self._tracer = self._provider.get_tracer("pointsman", __version__)

    def export(self, span: Span, offset: float) -> None:
        self._make(span, offset, None)

    def close(self) -> None:
        self._provider.shutdown()

    def _make(self, span: Span, offset: float, parent: object) -> None:
        attributes = {f"pointsman.{name}": value for name, value in span.attributes.items()}
        made = self._tracer.start_span(span.name, parent, start_time=_nanoseconds(span.start + offset))  # type: ignore[arg-type]
        if made.is_recording():
            made.set_attributes(attributes)
            for name, at in span.moments.items():
                made.add_event(name, timestamp=_nanoseconds(at + offset))
            if span.error:
                made.set_status(Status(StatusCode.ERROR, span.error))
            context = set_span_in_context(made)
            for child in span.children:
                self._make(child, offset, context)
        made.end(end_time=_nanoseconds(span.end + offset))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
