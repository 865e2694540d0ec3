"""OpenTelemetry traces: a span for each received request, and for each request to ProsperStack.

A call and its delivery are separate traces: many calls become one delivery, which may run hours later.
"""

import importlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind, Tracer

from prosperstack_destination import __version__
from prosperstack_destination.errors import ConfigurationError

_NAME: Final = "prosperstack-destination"
_NANOSECONDS: Final = 1_000_000_000

Attributes = dict[str, str | int]


class SpanRecorder:
    """Recorder of finished requests as spans."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def record_response(self, route: str, status: int, seconds: float, headers: Mapping[str, str]) -> None:
        """Record a received request. Its ``headers`` may continue the caller's trace."""
        attributes: Attributes = {"http.route": route, "http.response.status_code": status}
        self._span(route, SpanKind.SERVER, attributes, seconds, headers)

    def record_sent_request(self, kind: str, status: int | None, seconds: float) -> None:
        """Record a request to ProsperStack; ``status`` is None without a response."""
        self._span(kind, SpanKind.CLIENT, {"http.response.status_code": status or 0}, seconds, {})

    def _span(
        self,
        name: str,
        kind: SpanKind,
        attributes: dict[str, str | int],
        seconds: float,
        headers: Mapping[str, str],
    ) -> None:
        end = time.time_ns()
        started_at = end - int(seconds * _NANOSECONDS)
        context = extract(headers) if "traceparent" in headers else None
        span = self._tracer.start_span(
            name, context=context, kind=kind, attributes=attributes, start_time=started_at
        )
        span.end(end)


def start_otlp_export(endpoint: str) -> tuple[SpanRecorder, Callable[[], None]]:
    """Return a recorder that exports to an OTLP endpoint, and the function that flushes and stops the export.

    Raises `ConfigurationError` where the optional packages are not installed.
    """
    try:
        sdk: Any = importlib.import_module("opentelemetry.sdk.trace")
        export: Any = importlib.import_module("opentelemetry.sdk.trace.export")
        resources: Any = importlib.import_module("opentelemetry.sdk.resources")
        otlp: Any = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError:
        raise ConfigurationError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry's packages are not there: "
            "pip install 'prosperstack-destination[otel]', or leave it out."
        ) from None
    provider = sdk.TracerProvider(resource=resources.Resource.create({"service.name": _NAME}))
    exporter = otlp.OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces")
    provider.add_span_processor(export.BatchSpanProcessor(exporter))
    return SpanRecorder(provider.get_tracer(_NAME, __version__)), provider.shutdown
