"""Both clients against a real server; the benchmarks' results are made up."""

import asyncio
import re
from pathlib import Path

import anyio.to_thread
import pytest
from httpx_sse import ServerSentEvent

from halftime.client import AsyncClient, BenchmarkFailed, CannotConnect, Client, ProblemError, WaitTimeout, stream
from halftime.contract.events import AnyEvent
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.benchmark import Progress
from tests.app.acts import CPU_JOB, add_trace, claim, finish, post, register
from tests.events import event
from tests.factories import profile
from tests.halftime.client.clients import KINDS, cutting

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
def connect(request):
    """Makes a client of either kind; what it gives is awaited."""
    made = []

    def connect(*arguments, **options):
        made.append(KINDS[request.param](*arguments, **options))
        return made[-1]

    return connect


@pytest.fixture
async def either(live, connect):
    """Both clients, one after the other: for what they do each in their own way."""
    client = connect(str(live.base_url))
    yield client
    await client.close()


@pytest.fixture
async def halftime(live):
    """One client, for what is described once for both."""
    client = KINDS["async"](str(live.base_url))
    yield client
    await client.close()


async def test_a_request_is_submitted_as_a_model_or_as_plain_data(either):
    plain = await either.submit(CPU_JOB)
    typed = await either.submit(BenchmarkRequest.model_validate(CPU_JOB))
    assert plain.status == typed.status == "queued"
    assert plain.request == typed.request
    assert plain.id != typed.id


async def test_the_same_key_is_the_same_benchmark(halftime):
    first = await halftime.submit(CPU_JOB, idempotency_key="mine")
    assert (await halftime.submit(CPU_JOB, idempotency_key="mine")).id == first.id


async def test_a_preview_stores_nothing(halftime):
    preview = await halftime.preview(CPU_JOB)
    assert preview.cost.least_trials == 14
    assert (await halftime.list()).items == []


async def test_a_wait_ends_with_the_benchmark(live, either):
    benchmark = await either.submit(CPU_JOB)
    waiting = asyncio.create_task(either.wait(benchmark.id, check=True))
    await finish(live, {"id": benchmark.id})
    assert (await waiting).status == "succeeded"


async def test_a_wait_that_takes_too_long_tells_what_it_saw_and_lets_it_run(either):
    benchmark = await either.submit(CPU_JOB)
    with pytest.raises(WaitTimeout) as caught:
        await either.wait(benchmark.id, timeout_seconds=0.05)
    assert caught.value.benchmark == benchmark
    assert (await either.get(benchmark.id)).status == "queued"


async def test_a_wait_that_takes_too_long_cancels_where_asked(halftime):
    benchmark = await halftime.submit(CPU_JOB)
    with pytest.raises(WaitTimeout):
        await halftime.wait(benchmark.id, timeout_seconds=0, cancel_on_timeout=True)
    assert (await halftime.get(benchmark.id)).status == "cancelled"


async def test_a_failure_is_raised_with_its_code_where_checked(live, halftime):
    await register(live)
    failed = await halftime.submit({"model": {"kind": "mlp"}, "config": {"device": "cuda"}})
    with pytest.raises(BenchmarkFailed) as caught:
        await halftime.wait(failed.id, check=True)
    assert caught.value.failure.code == "cuda_unavailable"
    assert (await halftime.wait(failed.id)).status == "failed"


async def test_run_gives_the_report(live, either):
    running = asyncio.create_task(either.run(CPU_JOB))
    while not (submitted := (await live.get("/benchmarks")).json()["items"]):
        await asyncio.sleep(0.01)
    made = await finish(live, submitted[0])
    assert await running == made


def example(page):
    return re.search(r"```python\n(.*?)```", (Path(__file__).parents[3] / page).read_text(), re.DOTALL)[1]


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
async def test_the_example_of_a_page_runs_as_it_stands(live, monkeypatch, capsys, page):
    monkeypatch.setenv("HALFTIME_SERVER", str(live.base_url))
    source = example(page).replace("http://127.0.0.1:8000", str(live.base_url))
    await register(live)
    running = asyncio.create_task(anyio.to_thread.run_sync(exec, source, {}))
    while not (submitted := (await live.get("/benchmarks")).json()["items"]):
        await asyncio.sleep(0.01)
    made = await finish(live, submitted[0])
    await running
    verdict, *listed = capsys.readouterr().out.splitlines()
    assert verdict == f"{made.verdict} {made.comparisons[0].speedup}"
    assert [line.split()[0] for line in listed] == ([] if page == "README.md" else [submitted[0]["id"]])


async def test_run_raises_for_a_benchmark_without_a_report(live, halftime):
    await register(live)
    with pytest.raises(BenchmarkFailed):
        await halftime.run({"model": {"kind": "mlp"}, "config": {"device": "cuda"}})


async def test_watching_shows_every_status_once(live, either):
    benchmark = await either.submit(CPU_JOB)
    watching = asyncio.create_task(either.watch(benchmark.id, every_seconds=0.01))
    await asyncio.sleep(0.1)
    await finish(live, {"id": benchmark.id})
    seen = await watching
    versions = [one.version for one in seen]
    assert (seen[0].status, seen[-1].status) == ("queued", "succeeded")
    assert versions == sorted(set(versions))


async def test_events_are_told_until_the_end(live, either):
    benchmark = await either.submit(CPU_JOB)
    listening = asyncio.create_task(either.events(benchmark.id))
    await finish(live, {"id": benchmark.id})
    heard = [one for one in await listening if isinstance(one, AnyEvent)]
    assert [event.kind for event in heard] == ["queued", "started", "succeeded"]
    assert await either.past_events(benchmark.id) == heard
    assert await either.events(benchmark.id, after=2) == heard[2:]


async def test_a_stream_that_is_cut_goes_on_where_it_was(live, connect, monkeypatch):
    monkeypatch.setattr(stream, "RECONNECT_SECONDS", 0)
    benchmark = await post(live)
    await finish(live, benchmark)
    async with cutting(live, b"succeeded") as address:
        client = connect(address)
        heard = [one for one in await client.events(benchmark["id"]) if isinstance(one, AnyEvent)]
        await client.close()
    assert [event.seq for event in heard] == [1, 2, 3]


async def test_a_submit_whose_answer_is_lost_makes_one_benchmark(live, connect):
    async with cutting(live, b"HTTP/1.1 202") as address:
        client = connect(address)
        benchmark = await client.submit(CPU_JOB)
        await client.close()
    (stored,) = (await live.get("/benchmarks")).json()["items"]
    assert stored["id"] == benchmark.id


async def test_lists_are_filtered_and_cover_all_pages(either, monkeypatch):
    monkeypatch.setattr("halftime.client.operations.PAGE_SIZE", 2)
    mine = [(await either.submit(CPU_JOB | {"labels": {"team": "a"}})).id for _ in range(3)]
    await either.submit(CPU_JOB | {"labels": {"team": "b"}})
    found = await either.iterate(labels={"team": "a"}, status=["queued"], device="cpu")
    assert [item.id for item in found] == mine[::-1]
    page = await either.list(limit=1)
    assert (await either.list(limit=1, cursor=page.next_cursor)).items != page.items


async def test_a_report_comes_typed_and_as_text(live, halftime):
    benchmark = await post(live)
    made = await finish(live, benchmark)
    assert await halftime.report(benchmark["id"]) == made
    assert (await halftime.report_text(benchmark["id"], "md")).startswith("# BF16 is")


async def test_a_trace_comes_as_it_is_stored(live, either):
    benchmark = await post(live)
    await finish(live, benchmark, profile=profile())
    await add_trace(live, benchmark, "bf16", b"\x1f\x8b, and more")
    assert await either.trace(benchmark["id"], "bf16") == b"\x1f\x8b, and more"
    with pytest.raises(ProblemError) as caught:
        await either.trace(benchmark["id"], "tf32")
    assert [fault.loc for fault in caught.value.errors] == ["/query/leg"]


async def test_two_reports_are_compared(live, halftime):
    first, second = await post(live), await post(live)
    for benchmark in (first, second):
        await finish(live, benchmark)
    assert (await halftime.compare(first["id"], second["id"])).baseline_id == first["id"]


async def test_a_benchmark_is_cancelled_run_again_and_deleted(halftime):
    benchmark = await halftime.submit(CPU_JOB)
    assert (await halftime.cancel(benchmark.id)).status == "cancelled"
    again = await halftime.rerun(benchmark.id)
    assert again.request == benchmark.request
    await halftime.delete(benchmark.id)
    with pytest.raises(ProblemError, match="No benchmark has this id"):
        await halftime.get(benchmark.id)


async def test_a_sweep_is_submitted_watched_and_tabulated(halftime):
    sweep = await halftime.submit_sweep({"request": CPU_JOB, "vary": {"batch_sizes": [8, 16]}})
    for row in sweep.rows:
        await halftime.cancel(row.benchmark_id)
    assert (await halftime.watch_sweep(sweep.id))[-1].finished
    assert (await halftime.sweep(sweep.id)).counts == {"cancelled": 2}
    assert (await halftime.sweep_text(sweep.id, "csv")).count("\n") == 3


async def test_what_there_is_can_be_asked_for(live, either):
    await register(live)
    assert [worker.id for worker in (await either.workers()).items] == ["node:cpu"]
    assert (await either.drain("node:cpu")).state == "draining"
    assert (await either.undrain("node:cpu")).state == "idle"
    assert "mlp" in {kind.kind for kind in (await either.models()).models}
    assert (await either.version()).halftime
    assert await either.ready()
    benchmark = await either.submit(CPU_JOB)
    assert await either.logs(benchmark.id) == ""


async def test_a_refusal_has_the_place_of_each_fault(either):
    with pytest.raises(ProblemError) as caught:
        await either.submit({"model": {"kind": "mlp"}, "config": {"device": "tpu"}})
    assert (caught.value.status, caught.value.code) == (422, "invalid")
    assert [fault.loc for fault in caught.value.errors] == ["/config/device"]
    assert "/config/device" in str(caught.value)


async def test_a_report_that_is_not_there_yet_says_when_to_come_back(live, halftime):
    benchmark = await post(live)
    await claim(live, benchmark)
    with pytest.raises(ProblemError) as caught:
        await halftime.report(benchmark["id"])
    assert (caught.value.status, caught.value.retry_after_seconds) == (409, 2)


async def test_an_id_cannot_lead_elsewhere(halftime):
    with pytest.raises(ProblemError) as caught:
        await halftime.get("../models")
    assert caught.value.status in {404, 422}


async def test_a_server_that_is_not_there_is_told_from_one_that_refuses(connect):
    client = connect("http://127.0.0.1:9", retries=0)
    with pytest.raises(CannotConnect):
        await client.get("x")
    assert not await client.ready()
    await client.close()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("server", ["node-1:8000", "ftp://node-1", "http://", "http://node-1:port", "halftime"])
def test_an_address_that_is_none_is_refused_at_once(kind, server):
    with pytest.raises(ValueError, match="is not a valid address"):
        kind(server)


def test_a_key_that_no_header_can_carry_is_refused_without_being_told():
    with pytest.raises(ValueError, match="Set HALFTIME_API_KEY to a key exactly as printed") as caught:
        Client(api_key="süß")
    assert "süß" not in str(caught.value)


def test_progress_is_told_between_the_events_and_an_event_once():
    feed = stream.EventFeed("x")
    queued = event("queued", {"queue": "cpu"})
    progress = Progress(
        phase="start", block=0, max_blocks=2, leg="", step=0, total_steps=6, fraction=0, eta_seconds=None
    )
    frame = ServerSentEvent(event="queued", id="1", data=queued.model_dump_json())
    between = ServerSentEvent(event="progress", id="1", data=progress.model_dump_json())
    unknown = ServerSentEvent(event="of a later version", id="1", data="?")
    assert [feed.read(one) for one in (frame, frame, between, unknown)] == [queued, None, progress, None]
    assert not feed.ended
