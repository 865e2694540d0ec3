"""Tests of the export to an OpenTelemetry collector, which a server of the tests simulates."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from prosperstack_destination import logs
from prosperstack_destination.observability.metrics import Metrics
from prosperstack_destination.observability.tracing import start_otlp_export
from prosperstack_destination.settings import LogFormat, LogLevel
from support.cluster import KEY, SEGMENT_KEY
from support.processes import free_port, started

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KINDS: dict[str, Any] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


class Collector:
    """Exported signals, in the order of their arrival."""

    def __init__(self, url: str, received: list[Any]) -> None:
        self.url = url
        self.received = received

    def spans(self) -> list[Any]:
        return [
            span
            for each in self.received
            if isinstance(each, ExportTraceServiceRequest)
            for resource in each.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def metrics(self) -> dict[str, Any]:
        """Return the latest export of each metric, by name."""
        return {
            metric.name: metric
            for each in self.received
            if isinstance(each, ExportMetricsServiceRequest)
            for resource in each.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def lines(self) -> list[Any]:
        return [
            line
            for each in self.received
            if isinstance(each, ExportLogsServiceRequest)
            for resource in each.resource_logs
            for scope in resource.scope_logs
            for line in scope.log_records
        ]


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector during the block."""
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kind = KINDS[self.path]
            received.append(kind.FromString(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}", received)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture
def configured() -> Iterator[None]:
    """Logging as the service sets it up, until the end of the test."""
    root = logging.getLogger()
    before, level = root.handlers, root.level
    logs.configure(LogFormat.JSON, LogLevel.INFO)
    yield
    root.handlers, root.level = before, level
    structlog.reset_defaults()


def test_metrics_are_exported_as_they_are_scraped(collector: Collector) -> None:
    """Counters are monotonic sums, gauges are gauges, and histograms keep their buckets."""
    metrics = Metrics()
    export = start_otlp_export(collector.url, metrics)
    metrics.calls.labels("accepted").inc(3)
    metrics.set_budget("key_1", 100, 40)
    for seconds in (0.0001, 0.002, 0.002, 99):
        metrics.commits.observe(seconds)
    export.close()
    found = collector.metrics()
    calls, budget = found["prosperstack_destination_calls"], found["prosperstack_destination_budget_remaining"]
    [commits] = found["prosperstack_destination_commit_seconds"].histogram.data_points

    assert calls.sum.is_monotonic
    assert calls.sum.data_points[0].as_double == 3
    assert calls.sum.data_points[0].attributes[0].value.string_value == "accepted"
    assert calls.sum.data_points[0].start_time_unix_nano > 10**18
    assert (budget.gauge.data_points[0].as_double, budget.gauge.data_points[0].attributes[0].key) == (40, "account")
    assert (commits.count, sum(commits.bucket_counts)) == (4, 4)
    assert list(commits.bucket_counts)[:3] == [1, 2, 0]
    assert commits.bucket_counts[-1] == 1
    assert len(commits.bucket_counts) == len(commits.explicit_bounds) + 1
    assert commits.sum == pytest.approx(99.0041)


def test_every_metric_with_a_sample_is_exported(collector: Collector) -> None:
    """Each family that Prometheus would see samples of is in the export."""
    metrics = Metrics()
    start_otlp_export(collector.url, metrics).close()

    assert set(collector.metrics()) == {each.name for each in metrics.collect() if each.samples}


@pytest.mark.usefixtures("configured")
def test_log_lines_are_exported_without_secrets(collector: Collector) -> None:
    """A line is exported with its fields, its level and its request's span, and with no email."""
    export = start_otlp_export(collector.url, Metrics())
    logs.bind_request("r1", {"trace_id": TRACE, "span_id": PARENT})
    structlog.get_logger("test").warning("budget is used up", account="key_1", count=2)
    logging.getLogger("library").error("cannot reach ada@example.com")
    logging.getLogger("opentelemetry.exporter").error("the collector is away")
    export.close()
    structlog.get_logger("test").warning("after the end")
    first, second = collector.lines()

    assert (first.body.string_value, first.severity_text, first.severity_number) == (
        "budget is used up",
        "WARNING",
        13,
    )
    assert {each.key: each.value.string_value or each.value.int_value for each in first.attributes} == {
        "account": "key_1",
        "count": 2,
        "request_id": "r1",
    }
    assert (first.trace_id.hex(), first.span_id.hex()) == (TRACE, PARENT)
    assert second.body.string_value == "cannot reach …"


@pytest.mark.whole
def test_service_exports_all_three(tmp_path: Path) -> None:
    """With the endpoint set, the service exports spans in the caller's trace, metrics and log lines to its end."""
    port = free_port()
    call = {"traits": {"email": "ada@example.com", "plan": "pro"}}
    with collecting() as collector:
        settings = {
            "PROSPERSTACK_API_KEY": KEY,
            "SEGMENT_KEYS": SEGMENT_KEY,
            "PROSPERSTACK_BASE_URL": "http://127.0.0.1:9/v1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        }
        serve = ["serve", "--port", str(port)]
        with started(serve, f"http://127.0.0.1:{port}/readyz", tmp_path, tmp_path / "serve.log", **settings):
            answer = httpx.post(
                f"http://127.0.0.1:{port}/identify",
                json=call,
                auth=(SEGMENT_KEY, ""),
                headers={"traceparent": f"00-{TRACE}-{PARENT}-01"},
                trust_env=False,
            )
            assert answer.status_code == 202
    [span] = [each for each in collector.spans() if each.name == "POST /identify"]
    accepted = collector.metrics()["prosperstack_destination_calls"].sum.data_points[0]

    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert accepted.as_double == 1
    assert {"started", "stopping"} <= {each.body.string_value for each in collector.lines()}
    assert "ada@example.com" not in str(collector.received)
