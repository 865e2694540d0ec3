"""OpenTelemetry traces."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.observability.tracing import SpanRecorder, start_otlp_export

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_spans_last_as_long_as_what_they_tell_of() -> None:
    """Requests in and out are spans with their times; the trace that a caller names goes on."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces = SpanRecorder(provider.get_tracer("test"))
    traces.record_response("POST /identify", 202, 0.25, {"traceparent": PARENT})
    traces.record_sent_request("GET /properties", None, 1.0)
    call, request = exporter.get_finished_spans()

    assert (call.name, call.kind, request.name, request.kind) == (
        *("POST /identify", SpanKind.SERVER),
        *("GET /properties", SpanKind.CLIENT),
    )
    assert call.start_time is not None
    assert call.end_time is not None
    assert call.end_time - call.start_time == 250_000_000
    assert call.parent is not None
    assert f"{call.parent.span_id:x}" == "b7ad6b7169203331"
    assert request.parent is None
    assert dict(call.attributes or {}) == {"http.route": "POST /identify", "http.response.status_code": 202}


def test_without_the_packages() -> None:
    """Where the exporter is not installed, what to install is told."""
    with pytest.raises(ConfigurationError, match=r"prosperstack-destination\[otel\]"):
        start_otlp_export("http://localhost:4318")
