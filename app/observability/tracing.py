"""OpenTelemetry traces across the queue: a run's span links to the request that submitted it.

Without the extra `otel` and a standard variable that enables traces, every span is a no-op and no SDK is loaded.
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

#: The framework's tracing: every request except health checks; no metrics and no logs.
REQUESTS: "TelemetryConfig" = {
    "auto_configure": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "exclude": lambda scope: scope.get("path") in {"/livez", "/readyz", "/metrics"},
}

#: The exporter's name in the OpenTelemetry standard, and its entry point in the package of the extra `otel`.
EXPORTERS = {"otlp": "otlp_proto_http"}

_tracer = trace.get_tracer("halftime")
_w3c = TraceContextTextMapPropagator()


@contextlib.asynccontextmanager
async def exported_spans(service: str) -> AsyncIterator[None]:
    """Exports the process's spans as the OTEL_* variables say; the last ones are sent when the block ends."""
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
    """Returns the current span in W3C Trace Context format; None without tracing."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return carrier.get("traceparent")


def run_span(benchmark_id: UUID, attempt: int, submitted_by: str | None) -> AbstractContextManager[object]:
    """Starts a separate trace for a run, linked to that of the request, because hours may lie between them."""
    submit = trace.get_current_span(_w3c.extract({"traceparent": submitted_by or ""}, Context())).get_span_context()
    return _tracer.start_as_current_span(
        "run",
        context=Context(),
        kind=SpanKind.CONSUMER,
        links=[Link(submit)] if submit.is_valid else [],
        attributes={"halftime.benchmark": str(benchmark_id), "halftime.attempt": attempt},
    )


def trial_span(leg: str, block: int) -> AbstractContextManager[object]:
    """Starts a span for a trial within the current run."""
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
        log.warning("OTEL_* variables enable traces, but OpenTelemetry is not installed: pip install 'halftime[otel]'")
        return None
    name = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    exporters = list(entry_points(group="opentelemetry_traces_exporter", name=EXPORTERS.get(name, name)))
    if not exporters:
        log.warning("the trace exporter is not installed; no traces are sent", OTEL_TRACES_EXPORTER=name)
        return None
    resource = Resource.create({"service.name": service}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporters[0].load()()))
    return provider
