"""OpenTelemetry traces: a span for each received request, and for each request to ProsperStack.

A call and its delivery are separate traces: many calls become one delivery, which may run hours later.
"""

import importlib
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.observability.metrics import Metrics

if TYPE_CHECKING:
    from prosperstack_destination.observability.otlp import OtlpExport

_NANOSECONDS: Final = 1_000_000_000
#: Headers of W3C Trace Context, which continue the caller's trace. Baggage is not read: it may hold anything.
_TRACE_HEADERS: Final = frozenset({b"traceparent", b"tracestate"})
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class SpanRecorder:
    """Recorder of requests as spans."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start_response(self, route: str, headers: Iterable[tuple[bytes, bytes]]) -> Span:
        """Start the span of a received request, in the trace of its ``traceparent`` or in one of its own."""
        carrier = {name.decode(): value.decode("latin-1") for name, value in headers if name in _TRACE_HEADERS}
        context = _PROPAGATOR.extract(carrier, Context())
        return self._tracer.start_span(route, context, SpanKind.SERVER, {"http.route": route})

    def end_response(self, span: Span, status: int) -> None:
        """End the span of a received request with the status of its response; 0: there was none."""
        span.set_attribute("http.response.status_code", status)
        if not 0 < status < 500:
            span.set_status(StatusCode.ERROR)
        span.end()

    def record_sent_request(self, kind: str, status: int | None, seconds: float) -> None:
        """Record a request to ProsperStack; ``status`` is None without a response."""
        end = time.time_ns()
        span = self._tracer.start_span(
            kind,
            Context(),
            SpanKind.CLIENT,
            {"http.response.status_code": status or 0},
            start_time=end - int(seconds * _NANOSECONDS),
        )
        if status is None or status >= 400:
            span.set_status(StatusCode.ERROR)
        span.end(end)


def trace_fields(span: Span) -> dict[str, str]:
    """Return the fields that lead from a log line to a span."""
    context = span.get_span_context()
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def start_otlp_export(endpoint: str, metrics: Metrics) -> "OtlpExport":
    """Start the export of traces, metrics and log lines to an OTLP endpoint.

    Raises `ConfigurationError` where the optional packages are not installed.
    """
    try:
        module = importlib.import_module("prosperstack_destination.observability.otlp")
    except ImportError:
        raise ConfigurationError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry's packages are not there: "
            "pip install 'prosperstack-destination[otel]', or leave it out."
        ) from None
    export: OtlpExport = module.OtlpExport(endpoint, metrics)
    return export
