"""Sends spans, metrics and log lines by the OpenTelemetry SDK, all of them before it ends with exit code 0."""

import logging
import sys

from opentelemetry import _logs, metrics, trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

endpoint, token, n_spans, compression = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
resource = Resource.create({"service.name": "checkout", "service.instance.id": "one"})
options = {
    "headers": {"authorization": f"Bearer {token}"},
    "compression": Compression(compression),
    "timeout": 60,
}

traces = TracerProvider(resource=resource)
exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", **options)
traces.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=100_000))
tracer = traces.get_tracer("sender")
for n in range(n_spans // 2):
    with tracer.start_as_current_span("GET /orders", attributes={"n": n}) as parent:
        with tracer.start_as_current_span("query") as child:
            if n % 10 == 0:
                child.set_status(trace.StatusCode.ERROR, "no connection")
                child.record_exception(ValueError("no connection"))

reader = PeriodicExportingMetricReader(
    OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics", **options), export_interval_millis=3_600_000
)
bounds = ExplicitBucketHistogramAggregation(boundaries=[0.1, 0.5])
view = View(instrument_name="http.server.request.duration", aggregation=bounds)
meters = MeterProvider(metric_readers=[reader], resource=resource, views=[view])
meter = meters.get_meter("sender")
meter.create_counter("http.requests", unit="{request}").add(7, {"http.route": "/orders"})
meter.create_up_down_counter("queue.length").add(-3)
meter.create_observable_gauge("memory.usage", [lambda _: [Observation(0.25)]], unit="1")
durations = meter.create_histogram("http.server.request.duration", unit="s")
for took in (0.05, 0.3, 0.3, 2.0):
    durations.record(took, {"http.route": "/orders"})

logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{endpoint}/v1/logs", **options)))
logger = logs.get_logger("sender")
logger.emit(severity_number=SeverityNumber.WARN, body="slow answer", attributes={"took.ms": 1200, "tags": ["a", "b"]})
logger.emit(severity_number=SeverityNumber.ERROR, body={"what": "failed", "codes": [1, 2]})

done = [traces.force_flush(120_000), meters.force_flush(120_000), logs.force_flush(120_000)]
for provider in (traces, meters, logs):
    provider.shutdown()
sys.exit(0 if all(done) else f"not everything was sent: {done}")
