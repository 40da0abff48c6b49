"""Traces by OpenTelemetry, across the queue: a run's span links to the request that submitted it.

Without the extra `otel` and a standard variable that asks for traces, every span is a no-op and nothing more is loaded.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING
from uuid import UUID

import anyio.to_thread
import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig
    from opentelemetry.sdk.trace import TracerProvider

log = structlog.get_logger(__name__)

#: What the framework traces: each request, probes apart. Metrics and logs go their own ways.
REQUESTS: "TelemetryConfig" = {
    "auto_configure": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "exclude": lambda scope: scope.get("path") in {"/livez", "/readyz", "/metrics"},
}

#: The standard's name, and that of the package which the extra brings.
EXPORTERS = {"otlp": "otlp_proto_http"}

_tracer = trace.get_tracer("halftime")
_w3c = TraceContextTextMapPropagator()


@contextlib.asynccontextmanager
async def exported_spans(service: str) -> AsyncIterator[None]:
    """Sends the process's spans to where the OTEL_* variables say, the last ones when the block ends."""
    provider = _provider(service) if _wanted() else None
    if provider is None:
        yield
        return
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        await anyio.to_thread.run_sync(provider.shutdown)


def traceparent() -> str | None:
    """The current span as W3C Trace Context writes it; None without tracing."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return carrier.get("traceparent")


def run_span(benchmark_id: UUID, attempt: int, submitted_by: str | None) -> AbstractContextManager[object]:
    """A trace of its own for a run, linked to that of the request: hours may lie between them."""
    submit = trace.get_current_span(_w3c.extract({"traceparent": submitted_by or ""}, Context())).get_span_context()
    return _tracer.start_as_current_span(
        "run",
        context=Context(),
        kind=SpanKind.CONSUMER,
        links=[Link(submit)] if submit.is_valid else [],
        attributes={"halftime.benchmark": str(benchmark_id), "halftime.attempt": attempt},
    )


def trial_span(leg: str, block: int) -> AbstractContextManager[object]:
    """A trial within the current run."""
    return _tracer.start_as_current_span("trial", attributes={"halftime.leg": leg, "halftime.block": block})


def _wanted() -> bool:
    exporter = os.environ.get("OTEL_TRACES_EXPORTER")
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return exporter != "none" if exporter else any(os.environ.get(endpoint) for endpoint in endpoints)


def _provider(service: str) -> "TracerProvider | None":
    try:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415 # an extra
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        log.warning("OTEL_* variables ask for traces, but they are not installed: pip install 'halftime[otel]'")
        return None
    name = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    exporters = list(entry_points(group="opentelemetry_traces_exporter", name=EXPORTERS.get(name, name)))
    if not exporters:
        log.warning("no such exporter is installed: nothing is traced", OTEL_TRACES_EXPORTER=name)
        return None
    named = Resource.create({"service.name": service}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=named)
    provider.add_span_processor(BatchSpanProcessor(exporters[0].load()()))
    return provider
