"""Tests of the spans of requests, received and sent."""

import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.observability.metrics import Metrics
from prosperstack_destination.observability.tracing import SpanRecorder, start_otlp_export, trace_fields

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def recorder(exporter: InMemorySpanExporter) -> SpanRecorder:
    """Recorder whose spans are in ``exporter``."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return SpanRecorder(provider.get_tracer("test"))


def test_span_continues_the_trace_of_its_caller(recorder: SpanRecorder, exporter: InMemorySpanExporter) -> None:
    """A received request is a span in the trace of its ``traceparent``, below the caller's span."""
    headers = [(b"traceparent", f"00-{TRACE}-{PARENT}-01".encode()), (b"tracestate", b"vendor=1"), (b"x", b"\xff")]
    span = recorder.start_response("POST /identify", headers)
    fields = trace_fields(span)
    recorder.end_response(span, 202)
    [found] = exporter.get_finished_spans()

    assert (found.name, found.kind) == ("POST /identify", SpanKind.SERVER)
    assert found.parent is not None
    assert f"{found.parent.span_id:016x}" == PARENT
    assert fields == {"trace_id": TRACE, "span_id": f"{found.context.span_id:016x}"}
    assert found.context.trace_state.get("vendor") == "1"
    assert dict(found.attributes or {}) == {"http.route": "POST /identify", "http.response.status_code": 202}


def test_caller_decides_whether_a_trace_is_sampled(recorder: SpanRecorder, exporter: InMemorySpanExporter) -> None:
    """A request whose caller does not sample its trace leaves no span."""
    recorder.end_response(
        recorder.start_response("POST /identify", [(b"traceparent", f"00-{TRACE}-{PARENT}-00".encode())]), 202
    )

    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize("header", [b"", b"00-0-0-01", b"\xff\xfe", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"])
def test_damaged_header_begins_a_trace(
    header: bytes, recorder: SpanRecorder, exporter: InMemorySpanExporter
) -> None:
    """A ``traceparent`` that cannot be read is left out: the request has a trace of its own."""
    recorder.end_response(recorder.start_response("POST /identify", [(b"traceparent", header)]), 202)

    assert exporter.get_finished_spans()[0].parent is None


@pytest.mark.parametrize(
    ("status", "code"),
    [(202, StatusCode.UNSET), (400, StatusCode.UNSET), (503, StatusCode.ERROR), (0, StatusCode.ERROR)],
)
def test_failed_response_is_an_error(
    status: int, code: StatusCode, recorder: SpanRecorder, exporter: InMemorySpanExporter
) -> None:
    """A response of 5xx, or none, is an error of this service; a response of 4xx is one of the caller."""
    recorder.end_response(recorder.start_response("GET /readyz", []), status)

    assert exporter.get_finished_spans()[0].status.status_code is code


def test_sent_request_lasts_as_long_as_it_took(recorder: SpanRecorder, exporter: InMemorySpanExporter) -> None:
    """A request to ProsperStack is a span of its own trace, with its duration; no response is an error."""
    recorder.record_sent_request("GET /properties", None, 0.25)
    [found] = exporter.get_finished_spans()

    assert (found.kind, found.parent, found.status.status_code) == (SpanKind.CLIENT, None, StatusCode.ERROR)
    assert found.start_time is not None
    assert found.end_time is not None
    assert found.end_time - found.start_time == 250_000_000


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the exporter is not installed, the error says what to install."""
    monkeypatch.delitem(sys.modules, "prosperstack_destination.observability.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)

    with pytest.raises(ConfigurationError, match=r"prosperstack-destination\[otel\]"):
        start_otlp_export("http://localhost:4318", Metrics())
