"""What Prometheus scrapes, and that the dashboard, the alerts and the documents speak of nothing else."""

import json
import re
import uuid
from itertools import product
from pathlib import Path
from typing import get_args

import anyio
import httpx
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from sqlalchemy import create_engine, text

from app.main import create_app
from app.store import benchmarks, claims, workers
from app.store.history import totals
from app.store.history.snapshot import take_snapshot
from halftime.contract.event_data import TrialFailed, TrialFinished
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.resources.benchmark import TERMINAL
from tests.app.routes.test_benchmarks import claim, post, register
from tests.app.routes.test_sweeps import finish

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]


async def scrape(client):
    """The value of every sample by its name and labels."""
    response = await client.get("/metrics")
    assert response.status_code == 200, response.text
    samples = [sample for family in parse(response.text) for sample in family.samples]
    return {(sample.name, *sorted(sample.labels.items())): sample.value for sample in samples}


def sample(name, **labels):
    return (f"halftime_{name}", *sorted(labels.items()))


async def test_what_waits_and_runs_is_shown_by_queue_and_status(client):
    for device in ("cpu", "cpu", "auto"):
        benchmark = await post(client, {"model": {"kind": "mlp"}, "config": {"device": device}})
    await claim(client, benchmark)
    await execute(client, "UPDATE benchmarks SET queued_at = now() - interval '90 seconds' WHERE status = 'queued'")
    found = await scrape(client)
    assert found[sample("queue_depth", queue="cpu")] == 2
    assert found[sample("queue_depth", queue="auto")] == 0
    assert 90 <= found[sample("queue_oldest_age_seconds", queue="cpu")] < 300
    assert found[sample("queue_oldest_age_seconds", queue="cuda")] == 0
    assert found[sample("benchmarks_active", status="running")] == 1


async def test_no_label_repeats_what_a_client_wrote(client):
    for gpu in ("h200", "secret1"):
        await post(client, {"model": {"kind": "mlp"}, "config": {"device": "cuda", "gpu": gpu}})
    await client.request("BREW", "/secret2?secret3")
    await client.get("/benchmarks/secret4")
    text_of_all = (await client.get("/metrics")).text
    assert 'halftime_queue_depth{queue="cuda-selected"} 2.0' in text_of_all
    assert "secret" not in text_of_all
    assert "BREW" not in text_of_all


async def test_the_end_of_a_benchmark_is_counted_by_outcome(client):
    for end in ("succeed", "fail", "cancel", "cancel"):
        benchmark = await post(client)
        if end == "succeed":
            await finish(client, benchmark)
        elif end == "fail":
            held = await claim(client, benchmark)
            async with client.app.state.database.sessions.begin() as session:
                await claims.fail(session, held, Failure.of(FailureCode.OUT_OF_MEMORY, "too large"))
        else:
            await client.post(f"/benchmarks/{benchmark['id']}/cancel")
    verdict = (await client.get("/benchmarks", params={"status": "succeeded"})).json()["items"][0]["summary"]["verdict"]
    found = await scrape(client)
    assert found[sample("benchmarks_finished_total", status="succeeded", code="", verdict=verdict)] == 1
    assert found[sample("benchmarks_finished_total", status="failed", code="out_of_memory", verdict="")] == 1
    assert found[sample("benchmarks_finished_total", status="failed", code="timeout", verdict="")] == 0
    assert found[sample("benchmarks_finished_total", status="cancelled", code="", verdict="")] == 2


async def test_counts_are_the_same_from_another_process_and_outlive_what_they_count(client, settings):
    benchmark = await post(client)
    await client.post(f"/benchmarks/{benchmark['id']}/cancel")
    await client.delete(f"/benchmarks/{benchmark['id']}")
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://halftime") as other:
            found = await scrape(other)
    assert found[sample("benchmarks_finished_total", status="cancelled", code="", verdict="")] == 1


async def test_an_end_that_is_rolled_back_is_not_counted(client):
    benchmark = await post(client)
    database = client.app.state.database
    async with database.sessions() as session:
        await benchmarks.cancel(session, uuid.UUID(benchmark["id"]))
        await session.rollback()
    found = await scrape(client)
    assert found[sample("benchmarks_finished_total", status="cancelled", code="", verdict="")] == 0


async def test_transactions_that_count_the_same_in_another_order_both_commit(database):
    counts = [totals.Count("a", ()), totals.Count("b", ())]

    async def count(order):
        async with database.sessions.begin() as session:
            for one in order:
                await totals.add(session, one)
                await anyio.sleep(0.05)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count, counts)
        tasks.start_soon(count, counts[::-1])
    async with database.sessions() as session:
        found = (await take_snapshot(session)).totals
    assert (found["a"], found["b"]) == ({(): 2}, {(): 2})


async def test_waits_and_runs_are_histograms(client):
    benchmark = await post(client)
    await execute(client, "UPDATE benchmarks SET queued_at = now() - interval '100 seconds'")
    held = await claim(client, benchmark)
    await execute(client, "UPDATE benchmarks SET started_at = now() - interval '1000 seconds'")
    async with client.app.state.database.sessions.begin() as session:
        await claims.fail(session, held, Failure.of(FailureCode.INTERNAL, "a fault"))
    found = await scrape(client)
    bounds = ("60.0", "300.0", "+Inf")
    assert [found[sample("queue_wait_seconds_bucket", le=bound)] for bound in bounds] == [0, 1, 1]
    assert 100 <= found[sample("queue_wait_seconds_sum")] < 300
    run = {"precision": "bf16", "status": "failed"}
    bounds = ("600.0", "1800.0", "+Inf")
    assert [found[sample("run_duration_seconds_bucket", le=bound, **run)] for bound in bounds] == [0, 1, 1]
    assert found[sample("run_duration_seconds_count", **run)] == 1


async def test_the_first_run_of_every_kind_is_an_increase(client):
    found = await scrape(client)
    for precision, status in product(get_args(PrecisionName), TERMINAL):
        labels = {"precision": precision, "status": status}
        assert found[sample("run_duration_seconds_count", **labels)] == 0
        assert found[sample("run_duration_seconds_bucket", le="60.0", **labels)] == 0


async def test_trials_without_a_result_are_counted_by_code(client):
    held = await claim(client, await post(client))
    failed = TrialFailed(leg="fp32", block=0, code=FailureCode.TIMEOUT)
    finished = TrialFinished(leg="fp32", block=0, median_step_seconds=0.02, validation_loss=1.0)
    for data in (failed, finished, failed):
        async with client.app.state.database.sessions.begin() as session:
            await claims.record(session, held, data, "")
    found = await scrape(client)
    assert found[sample("trial_failures_total", code="timeout")] == 2
    assert found[sample("trial_failures_total", code="internal")] == 0


async def test_workers_are_counted_by_device_and_state(client):
    await register(client)
    await register(client, "cuda", "node:cuda:0")
    await register(client, "cuda", "node:cuda:1")
    await execute(client, "UPDATE workers SET current_benchmark = gen_random_uuid() WHERE id = 'node:cuda:0'")
    await execute(client, "UPDATE workers SET last_heartbeat = now() - interval '500 seconds' WHERE id = 'node:cuda:1'")
    found = await scrape(client)
    states = {(device, state): found[sample("workers", device=device, state=state)] for device, state in EVERY_STATE}
    assert {key: count for key, count in states.items() if count} == {
        ("cpu", "idle"): 1,
        ("cuda", "busy"): 1,
        ("cuda", "offline"): 1,
    }
    assert found[sample("worker_heartbeat_age_seconds", state="offline")] >= 500
    assert found[sample("worker_heartbeat_age_seconds", state="idle")] < workers.LEASE.total_seconds()


EVERY_STATE = [(device, state) for device in ("cpu", "cuda") for state in ("idle", "busy", "draining", "offline")]


async def test_requests_are_measured_by_method_route_and_kind_of_status(client):
    benchmark = await post(client)
    await client.get(f"/benchmarks/{benchmark['id']}")
    await client.get("/benchmarks/not-an-id")
    await client.put("/benchmarks")
    await client.get("/nothing")
    found = await scrape(client)
    counted = {
        (method, route, status): found[
            sample("http_request_duration_seconds_count", method=method, route=route, status=status)
        ]
        for method, route, status in [
            ("POST", "/benchmarks", "2xx"),
            ("GET", "/benchmarks/{benchmark_id}", "2xx"),
            ("GET", "/benchmarks/{benchmark_id}", "4xx"),
            ("PUT", "/benchmarks", "4xx"),
            ("GET", "unmatched", "4xx"),
        ]
    }
    assert set(counted.values()) == {1}


async def test_without_the_database_the_process_still_answers(client):
    await execute(client, "DROP TABLE totals")
    found = await scrape(client)
    assert found[sample("database_up")] == 0
    assert any(name == "halftime_build_info" for name, *_ in found)
    assert any(name == "process_resident_memory_bytes" for name, *_ in found)
    assert not any(name == "halftime_queue_depth" for name, *_ in found)


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=1.0.0", "application/openmetrics-text"])
async def test_openmetrics_is_given_to_who_asks(client, accept):
    response = await client.get("/metrics", headers={"Accept": accept})
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    names = {family.name for family in parse_openmetrics(response.text)}
    assert {"halftime_database_up", "halftime_benchmarks_finished", "halftime_run_duration_seconds"} <= names


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=new", "text/plain;version=x", ",;=", ""])
async def test_an_odd_accept_header_gets_the_plain_format(client, accept):
    response = await client.get("/metrics", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")


async def test_every_metric_named_anywhere_exists_and_every_metric_is_explained(client):
    await finish(client, await post(client))
    await register(client)
    exposed = (await client.get("/metrics")).text
    samples = {name for name, *_ in await scrape(client)}
    for expression in expressions():
        named = set(re.findall(r"\b(?:halftime|process)_\w+", expression))
        assert named, expression
        assert named <= samples, expression
    explained = set(re.findall(r"^\| `(halftime_\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE))
    families = set(re.findall(r"^# TYPE (halftime_\w+)", exposed, re.MULTILINE))
    assert explained == {name for name in families if not name.endswith("_created")}


def expressions():
    """Every PromQL expression that is shipped."""
    dashboard = json.loads((ROOT / "deploy/grafana/halftime.json").read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    for group in yaml.safe_load((ROOT / "deploy/prometheus/halftime.rules.yaml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def test_a_scrape_finds_what_waits_and_runs_by_index(database_url):
    engine = create_engine(database_url)
    with engine.connect() as connection:
        connection.execute(text("SET enable_seqscan = off"))
        for where in ("status = 'queued'", "status IN ('running', 'cancelling')"):
            plan = connection.execute(text(f"EXPLAIN SELECT queue FROM benchmarks WHERE {where}")).scalars()  # noqa: S608
            assert re.search(r"Index (Only )?Scan.* benchmarks_(queued|status)", "\n".join(plan))
    engine.dispose()


async def execute(client, statement):
    async with client.app.state.database.sessions.begin() as session:
        await session.execute(text(statement))
