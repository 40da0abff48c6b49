"""The trace of a leg over HTTP, from the worker's launcher to the client."""

import gzip
import uuid

import anyio
import pytest
from sqlalchemy.exc import OperationalError

from app.store import benchmarks, traces
from halftime.contract.report.report import Report
from tests.app.acts import add_trace, claim, finish, post
from tests.app.web.browsing import failed
from tests.factories import CPU, profile, request, trial, well
from worker.agent.job import Job

pytestmark = pytest.mark.anyio

TRACE = gzip.compress(b'{"traceEvents": []}')


class Explained:
    """In place of the launcher: an explained trial has a trace that names its leg and its attempt."""

    def __init__(self, attempt=1, hangs_in_block=None):
        self.attempt, self.hangs_in_block = attempt, hangs_in_block
        self.hangs, self.explained = anyio.Event(), []

    async def run(self, spec, deadline_seconds, after_step, keep_trace):
        if spec.block == self.hangs_in_block:
            self.hangs.set()
            await anyio.sleep_forever()
        if not spec.explained:
            return trial(spec), ""
        self.explained.append((spec.leg, spec.block))
        keep_trace(gzip.compress(f"{spec.leg} in attempt {self.attempt}".encode()))
        return trial(spec, profile=profile()), ""


async def run(client, benchmark, launcher):
    """Runs a queued benchmark as a worker would."""
    async with client.app.state.database.sessions() as session:
        row = await benchmarks.get(session, uuid.UUID(benchmark["id"]))
    await job_of(client, row, launcher).run(row.id)


def job_of(client, row, launcher):
    state = client.app.state
    return Job(state.database.sessions, launcher, "node:cpu", CPU, row.queue_entry_id, state.settings, well)


async def interrupt(client, benchmark, launcher):
    """Runs a queued benchmark until its launcher hangs, and hands it back."""
    async with client.app.state.database.sessions() as session:
        row = await benchmarks.get(session, uuid.UUID(benchmark["id"]))
    job = job_of(client, row, launcher)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(job.run, row.id)
        await launcher.hangs.wait()
        job.stop()


async def submitted(client, **config):
    return await post(client, request(**config).model_dump(mode="json"))


def path(benchmark, leg="bf16"):
    return f"/benchmarks/{benchmark['id']}/trace?leg={leg}"


async def trace_of(client, benchmark, leg="bf16"):
    response = await client.get(path(benchmark, leg))
    assert response.status_code == 200, response.text
    return gzip.decompress(response.content).decode()


async def problem(client, benchmark, leg="bf16", status=404):
    response = await client.get(path(benchmark, leg))
    assert response.status_code == status, response.text
    return response.json()


async def test_each_leg_has_the_trace_of_its_first_trial(client):
    benchmark, launcher = await submitted(client, candidates=["bf16", "fp32"]), Explained()
    await run(client, benchmark, launcher)
    legs = ["fp32", "bf16", "fp32 again"]
    assert sorted(launcher.explained) == sorted((leg, 0) for leg in legs)
    assert [await trace_of(client, benchmark, leg) for leg in legs] == [f"{leg} in attempt 1" for leg in legs]


async def test_a_trace_is_a_download_that_a_client_keeps(client):
    asked = request(candidates=["bf16", "fp32"])
    benchmark = await post(client, asked.model_dump(mode="json"))
    await finish(client, benchmark, asked, profile=profile())
    await add_trace(client, benchmark, "fp32 again", TRACE)
    response = await client.get(path(benchmark, "fp32 again"))
    headers = response.headers
    assert (headers["Content-Type"], response.content) == ("application/gzip", TRACE)
    assert headers["Content-Disposition"] == f'attachment; filename="{benchmark["id"]}-fp32-again.json.gz"'
    assert "Content-Encoding" not in headers
    again = await client.get(path(benchmark, "fp32 again"), headers={"If-None-Match": headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_the_next_attempt_keeps_the_traces_of_the_blocks_that_it_goes_on_after(client):
    benchmark = await submitted(client, measurement={"min_blocks": 4, "max_blocks": 4})
    await interrupt(client, benchmark, Explained(hangs_in_block=2))
    await run(client, benchmark, Explained(attempt=2))
    assert await trace_of(client, benchmark) == "bf16 in attempt 1"


async def test_an_attempt_that_begins_anew_replaces_the_traces(client):
    benchmark = await submitted(client)
    await interrupt(client, benchmark, Explained(hangs_in_block=1))
    await run(client, benchmark, Explained(attempt=2))
    assert await trace_of(client, benchmark) == "bf16 in attempt 2"


async def test_what_cannot_be_stored_costs_the_trace_alone(client, monkeypatch):
    async def full(*arguments):
        raise OperationalError("INSERT", None, Exception("No space left on device"))

    monkeypatch.setattr(traces, "keep", full)
    benchmark = await submitted(client)
    await run(client, benchmark, Explained())
    report = Report.model_validate((await client.get(f"/benchmarks/{benchmark['id']}/report")).json())
    assert report.baseline.trials[0].profile.trace_missing.startswith("The database did not store it")
    refused = await problem(client, benchmark)
    assert refused["type"] == "/problems/no_trace"
    assert "The database did not store it" in refused["detail"]


async def test_a_request_without_explanations_has_no_traces(client):
    benchmark, launcher = await submitted(client, explain=False), Explained()
    await run(client, benchmark, launcher)
    assert launcher.explained == []
    assert (await problem(client, benchmark))["detail"] == (
        "The leg has no trace. The request switched the explanation off. Legs with a trace: none."
    )


async def test_a_trace_that_was_too_large_says_so(client):
    benchmark = await post(client)
    await finish(client, benchmark, profile=profile(trace_missing="The trace has 9 events; at most 1 are kept."))
    await add_trace(client, benchmark, "bf16", b"of a trial that was repeated")
    assert "The trace has 9 events; at most 1 are kept." in (await problem(client, benchmark))["detail"]


async def test_a_leg_that_is_none_is_refused_with_those_that_are(client):
    benchmark = await post(client)
    await finish(client, benchmark, profile=profile())
    refused = await problem(client, benchmark, "tf32", 422)
    assert refused["detail"] == "The report has no such leg. Legs with a trace: fp32, bf16."
    assert refused["errors"] == [{"loc": "/query/leg", "msg": "must be one of fp32, bf16", "type": "unknown_leg"}]


@pytest.mark.parametrize("query", ["", "?leg=", "?leg=%00", "?leg=bf16%0A", "?leg=../x", f"?leg={'a' * 65}"])
async def test_a_name_that_no_leg_can_have_is_refused(client, query):
    benchmark = await post(client)
    await finish(client, benchmark)
    refused = await client.get(f"/benchmarks/{benchmark['id']}/trace{query}")
    assert refused.status_code == 422, refused.text
    assert [fault["loc"] for fault in refused.json()["errors"]] == ["/query/leg"]


async def test_a_benchmark_without_a_report_has_no_trace_yet(client):
    benchmark = await submitted(client)
    assert (await problem(client, benchmark, status=409))["type"] == "/problems/report_not_ready"
    await claim(client, benchmark)
    await add_trace(client, benchmark, "bf16")
    assert (await problem(client, benchmark, status=409))["type"] == "/problems/report_not_ready"


async def test_a_failed_benchmark_says_why_it_has_none(client):
    refused = await problem(client, await failed(client, "Torn."), status=409)
    assert refused["type"] == "/problems/benchmark_failed"
    assert "Torn." in refused["detail"]
