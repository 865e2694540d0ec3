"""Export of traces, metrics and log lines to an OpenTelemetry collector, by OTLP over HTTP.

Needs the packages of the extra ``otel``: import it by `start_otlp_export`. OpenTelemetry's own variables, such as
OTEL_EXPORTER_OTLP_HEADERS and OTEL_RESOURCE_ATTRIBUTES, apply.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from logging import CRITICAL, DEBUG, ERROR, INFO, WARNING
from typing import Any, Final

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from prometheus_client.core import Metric as Family
from prometheus_client.core import Sample

from prosperstack_destination import __version__
from prosperstack_destination.logs import pass_lines_to
from prosperstack_destination.observability.metrics import Metrics
from prosperstack_destination.observability.tracing import SpanRecorder

_NAME: Final = "prosperstack-destination"
_NANOSECONDS: Final = 1_000_000_000
#: Time between two exports of the metrics, in seconds.
METRIC_SECONDS: Final = 60.0
#: Times that Prometheus' samples are counted from; not metrics of their own.
_CREATED: Final = "_created"
_SEVERITIES: Final = {
    DEBUG: SeverityNumber.DEBUG,
    INFO: SeverityNumber.INFO,
    WARNING: SeverityNumber.WARN,
    ERROR: SeverityNumber.ERROR,
    CRITICAL: SeverityNumber.FATAL,
}


class OtlpExport:
    """Exporters of traces, metrics and log lines. They begin at once, and `close` sends what is left."""

    def __init__(self, endpoint: str, metrics: Metrics) -> None:
        base = endpoint.rstrip("/")
        self._resource = Resource.create({"service.name": _NAME, "service.version": __version__})
        self._tracers = TracerProvider(resource=self._resource)
        self._tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{base}/v1/traces")))
        self._loggers = LoggerProvider(resource=self._resource)
        self._loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{base}/v1/logs")))
        self._metrics = metrics
        self._metric_exporter = OTLPMetricExporter(endpoint=f"{base}/v1/metrics")
        self._logger = self._loggers.get_logger(_NAME, __version__)
        self._stop_lines = pass_lines_to(self._emit_line)
        #: Recorder of the spans that are exported.
        self.traces = SpanRecorder(self._tracers.get_tracer(_NAME, __version__))

    async def export_metrics_forever(self, refresh: Callable[[], Any]) -> None:
        """Export the metrics each minute; ``refresh`` is awaited before."""
        while True:
            await asyncio.sleep(METRIC_SECONDS)
            await refresh()
            await asyncio.to_thread(self.export_metrics)

    def export_metrics(self) -> None:
        """Export the metrics as they are; blocks. A collector that does not answer is logged."""
        scope = InstrumentationScope(_NAME, __version__)
        found = list(_metrics_of(self._metrics.collect(), time.time_ns()))
        self._metric_exporter.export(
            MetricsData([ResourceMetrics(self._resource, [ScopeMetrics(scope, found, "")], "")])
        )

    def close(self) -> None:
        """Send what is left, and stop; blocks for a while."""
        self._stop_lines()
        self.export_metrics()
        self._metric_exporter.shutdown()
        self._tracers.shutdown()
        self._loggers.shutdown()

    def _emit_line(self, fields: Mapping[str, Any], level: int, created: float) -> None:
        attributes = dict(fields)
        body = attributes.pop("event", "")
        trace_id, span_id = attributes.pop("trace_id", None), attributes.pop("span_id", None)
        for name in ("level", "timestamp"):
            attributes.pop(name, None)
        self._logger.emit(
            LogRecord(
                timestamp=int(created * _NANOSECONDS),
                context=_context_of(trace_id, span_id),
                severity_text=str(fields.get("level", "")).upper(),
                severity_number=_SEVERITIES.get(level, SeverityNumber.UNSPECIFIED),
                body=body,
                attributes=attributes,
            )
        )


def _context_of(trace_id: str | None, span_id: str | None) -> Context:
    if trace_id is None or span_id is None:
        return Context()
    span = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(1))
    return set_span_in_context(NonRecordingSpan(span), Context())


def _metrics_of(families: Iterable[Family], now: int) -> Iterator[Metric]:
    """Yield Prometheus' families as OpenTelemetry's metrics, of the same names."""
    cumulative = AggregationTemporality.CUMULATIVE
    for family in families:
        data: Sum | Gauge | Histogram
        if family.type == "histogram":
            data = Histogram(_histogram_points(family, now), cumulative)
        elif family.type == "counter":
            points = _points(family, f"{family.name}_total", now)
            data = Sum(points, cumulative, is_monotonic=True)
        else:
            data = Gauge(_points(family, family.name, now))
        if data.data_points:
            yield Metric(family.name, family.documentation, "", data)


def _points(family: Family, name: str, now: int) -> list[NumberDataPoint]:
    started = _start_times(family)
    return [
        NumberDataPoint(each.labels, started.get(_key(each.labels), 0), now, each.value)
        for each in family.samples
        if each.name == name
    ]


def _histogram_points(family: Family, now: int) -> list[HistogramDataPoint]:
    series: dict[frozenset[tuple[str, str]], list[Sample]] = {}
    for each in family.samples:
        labels = {name: value for name, value in each.labels.items() if name != "le"}
        series.setdefault(_key(labels), []).append(each)
    started = _start_times(family)
    return [_histogram_point(dict(key), samples, started.get(key, 0), now) for key, samples in series.items()]


def _histogram_point(labels: dict[str, str], samples: list[Sample], started: int, now: int) -> HistogramDataPoint:
    buckets = [each for each in samples if each.name.endswith("_bucket")]
    totals = [int(each.value) for each in buckets]
    counts = [total - before for total, before in zip(totals, [0, *totals], strict=False)]
    bounds = [float(each.labels["le"]) for each in buckets[:-1]]
    total = next(each.value for each in samples if each.name.endswith("_sum"))
    return HistogramDataPoint(
        attributes=labels,
        start_time_unix_nano=started,
        time_unix_nano=now,
        count=totals[-1],
        sum=total,
        bucket_counts=counts,
        explicit_bounds=bounds,
        min=None,  # type: ignore[arg-type] # Prometheus does not know it, and the protocol leaves it out
        max=None,  # type: ignore[arg-type] # same
    )


def _start_times(family: Family) -> dict[frozenset[tuple[str, str]], int]:
    """Return the times that the samples are counted from, in nanoseconds, by labels."""
    created = [each for each in family.samples if each.name.endswith(_CREATED)]
    return {_key(each.labels): int(each.value * _NANOSECONDS) for each in created}


def _key(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())
