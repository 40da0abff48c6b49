"""One trace per request and per run, linked over the queue."""

import os
import subprocess
import sys

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text

from app.observability import tracing
from tests.factories import CPU, request, trial, well
from worker.agent.job import Job

pytestmark = pytest.mark.anyio

QUEUED = text("SELECT id, queue_entry_id FROM benchmarks WHERE status = 'queued'")

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def exporter():
    """Keeps the spans of this process, which can have one provider in its life."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    return spans


@pytest.fixture
def spans(exporter):
    exporter.clear()
    return exporter


class NoLauncher:
    """Makes results up instead of starting processes."""

    async def run(self, spec, deadline_seconds, after_step, keep_trace):
        return trial(spec), ""


async def run_next(client):
    """Runs the benchmark that waits, as a worker would."""
    database = client.app.state.database
    async with database.sessions() as session:
        row = (await session.execute(QUEUED)).one()
    job = Job(database.sessions, NoLauncher(), "node:cpu", CPU, row.queue_entry_id, client.app.state.settings, well)
    await job.run(row.id)


async def test_a_run_has_a_trace_of_its_own_linked_to_the_submitting_request(client, spans):
    await client.post("/benchmarks", json=request().model_dump(mode="json"), headers={"traceparent": CALLER})
    await run_next(client)
    submit, *trials, run = spans.get_finished_spans()
    assert submit.name == "POST /benchmarks"
    assert trace.format_trace_id(submit.context.trace_id) == CALLER.split("-")[1]
    assert [link.context.span_id for link in run.links] == [submit.context.span_id]
    assert [link.context.trace_id for link in run.links] == [submit.context.trace_id]
    assert run.parent is None
    assert run.attributes["halftime.attempt"] == 1
    legs = {(span.attributes["halftime.leg"], span.attributes["halftime.block"]) for span in trials}
    assert legs == {("fp32", 0), ("bf16", 0), ("fp32", 1), ("bf16", 1)}
    assert {(span.name, span.parent.span_id) for span in trials} == {("trial", run.context.span_id)}


async def test_probes_are_not_traced(client, spans):
    for path in ("/livez", "/readyz", "/metrics"):
        await client.get(path)
    assert spans.get_finished_spans() == ()


async def test_what_was_submitted_without_a_trace_runs_without_a_link(client, spans):
    body = request().model_dump(mode="json")
    await client.post("/benchmarks", json=body)
    async with client.app.state.database.sessions.begin() as session:
        await session.execute(text("UPDATE benchmarks SET traceparent = NULL"))
    spans.clear()
    await run_next(client)
    assert spans.get_finished_spans()[-1].links == ()


IMPORTS = """
import asyncio, sys
from app import main
from app.observability import tracing
async def enter():
    async with tracing.exported_spans("a test"):
        return any(name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")) for name in sys.modules)
print(asyncio.run(enter()))
"""


@pytest.mark.parametrize(
    ("variables", "loaded"),
    [
        ({}, "False"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, "False"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, "True"),
    ],
)
def test_the_exporter_is_loaded_only_where_traces_are_asked_for(variables, loaded):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")} | variables
    command = [sys.executable, "-c", IMPORTS]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.stdout.strip() == loaded, result.stderr


async def test_an_exporter_that_is_not_installed_is_named_and_nothing_fails(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    with structlog.testing.capture_logs() as lines:
        async with tracing.exported_spans("a test"):
            pass
    assert [line["OTEL_TRACES_EXPORTER"] for line in lines] == ["carrier-pigeon"]


async def test_the_missing_extra_is_named_and_nothing_fails(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with structlog.testing.capture_logs() as lines:
        async with tracing.exported_spans("a test"):
            pass
    assert "halftime[otel]" in lines[0]["event"]
