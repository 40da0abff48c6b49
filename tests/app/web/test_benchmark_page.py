"""A benchmark's page in each of its states."""

import pytest

from halftime.contract.report.failure import FailureCode
from halftime.contract.resources.benchmark import Progress
from tests.app.acts import CPU_JOB, finish, post, register
from tests.app.reports.explained import explained
from tests.app.web.browsing import (
    BROWSER,
    FROM_HERE,
    cancelled,
    failed,
    page_of,
    parsed,
    purged,
    running,
    see,
    succeeded,
)
from tests.factories import profile

pytestmark = pytest.mark.anyio

UNKNOWN = "/ui/benchmarks/00000000-0000-7000-8000-000000000000"

PROGRESS = Progress(
    phase="measure", block=2, max_blocks=4, leg="fp32", step=3, total_steps=5, fraction=0.4, eta_seconds=74.0
)


def trial(leg, block, **changes):
    data = {"leg": leg, "block": block, "phase": "measure", "median_step_seconds": 0.0123, "validation_loss": 1.5}
    return "trial_finished", data | {"loss_curve": [3.0, None, 2.0], "steps": 300} | changes


def block(number, **speedups):
    return "block_finished", {"block": number, "planned_blocks": 4, "speedups": speedups}


async def test_a_queued_benchmark_says_its_place_and_whether_anyone_could_take_it(client):
    await post(client)
    benchmark = await post(client)
    page = await see(client, page_of(benchmark))
    assert "Position 2 in the queue." in page.text
    assert "No live worker runs benchmarks for a CPU" in page.text
    await register(client)
    assert "Position 2 in the queue, 1 worker online that can run it." in (await see(client, page_of(benchmark))).text


async def test_a_running_benchmark_shows_progress_trials_and_pictures(client):
    interval = {"value": 2.1, "ci_low": 1.9, "ci_high": 2.3}
    events = [trial("fp32", 0), trial("bf16", 0), block(0, bf16=None), trial("bf16", 1), block(1, bf16=interval)]
    page = await see(client, page_of(await running(client, events=events, progress=PROGRESS)))
    assert "Block 2 of 4, FP32, step 3 of 5: about 1 min 14 s left" in page.text
    assert "12.3 ms 1.5000" in page.text
    assert {"losses", "intervals", "blocks", "cancel"} <= set(page.ids())
    labelled = {one["aria-labelledby"] for one in page.all("svg") if one.get("role") == "img"}
    assert labelled <= set(page.ids())
    assert "Speedup after each block, with its 95 % interval" in page.text


async def test_a_survey_under_way_is_no_block(client):
    surveying = PROGRESS.model_copy(update={"is_survey": True, "block": 1, "leg": "bf16"})
    ended = [trial("fp32", 0, phase="survey")]
    page = await see(client, page_of(await running(client, events=ended, progress=surveying)))
    assert "Survey, BF16 alone, step 3 of 5: about 1 min 14 s left" in page.text
    assert "First, each leg is trained once alone. The charts appear when the first block has ended." in page.text
    assert "survey 12.3 ms 1.5000 running" in page.text
    assert "losses" not in page.ids()


async def test_a_block_in_turns_says_so_and_that_all_its_legs_run(client):
    surveys = [trial(leg, 0, phase="survey") for leg in ("fp32", "bf16")]
    in_turns = PROGRESS.model_copy(update={"in_turns": True})
    page = await see(client, page_of(await running(client, events=surveys, progress=in_turns)))
    assert "Block 2 of 4, legs take turns: FP32, step 3 of 5" in page.text
    assert "2 running running" in page.text


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        ("start", "Starting"),
        ("capacity", "Searching for the largest batch size"),
        ("verify", "Measuring what the advice is worth"),
        ("report", "Writing the report"),
    ],
)
async def test_what_runs_outside_the_blocks_is_named_without_a_block_or_a_step(client, phase, said):
    outside = PROGRESS.model_copy(update={"phase": phase, "leg": "bf16 with compile", "step": 0, "total_steps": 0})
    page = await see(client, page_of(await running(client, events=[trial("fp32", 0)], progress=outside)))
    assert f"{said}: about 1 min 14 s left" in page.text
    assert "Block 2 of 4" not in page.text
    assert "step 0 of 0" not in page.text


async def test_a_running_benchmark_without_a_result_has_no_pictures(client):
    page = await see(client, page_of(await running(client)))
    assert "Starting on" in page.text
    assert not {"losses", "intervals", "blocks"} & set(page.ids())


async def test_what_runs_is_read_again_from_its_fragment_and_its_events(client):
    benchmark = await running(client, events=[trial("fp32", 0)])
    page = await see(client, page_of(benchmark))
    (live,) = [one for one in page.all("div") if "data-fragment" in one]
    assert live["data-events"] == f"/benchmarks/{benchmark['id']}/events?after=3"
    fragment = await client.get(live["data-fragment"], headers=BROWSER)
    assert "<html" not in fragment.text
    parts = {one["id"] for _, one in parsed(fragment.text).elements if "data-part" in one}
    assert parts == {one["id"] for _, one in page.elements if "data-part" in one}


async def test_without_scripts_what_runs_is_loaded_again(client):
    unfinished, ended = await running(client), await failed(client)
    assert 'content="5"' in (await client.get(page_of(unfinished), headers=BROWSER)).text
    assert "http-equiv" not in (await client.get(page_of(ended), headers=BROWSER)).text


async def test_a_succeeded_benchmark_shows_its_answer(client):
    page = await see(client, page_of(await succeeded(client)))
    assert "BF16 is 2.00× faster (2.00–2.00) than FP32 on a CPU" in page.text
    assert "rerun" in page.ids()
    assert "cancel" not in page.ids()
    assert not [one for one in page.all("div") if "data-fragment" in one]


async def test_the_traces_that_there_are_can_be_downloaded(client):
    with_trace, without = await succeeded(client, profile=profile()), await succeeded(client)
    address = f"/benchmarks/{with_trace['id']}/trace?leg="
    page = await see(client, page_of(with_trace))
    assert [link for link in page.links() if "/trace" in link] == [f"{address}fp32", f"{address}bf16"]
    assert "/trace" not in "".join((await see(client, page_of(without))).links())


async def test_advice_of_a_report_opens_in_the_form(client):
    page = await see(client, page_of(await succeeded(client, completed=explained)))
    (first, *_) = [link for link in page.links() if link.startswith("/ui/new?request=")]
    form = await see(client, first)
    assert '"compile": {}' in form.text


@pytest.mark.parametrize(
    ("changes", "verdict"), [({"step_seconds": 0.02}, "fail"), ({"least_flops_per_step": 10**18}, "invalid")]
)
async def test_the_verdict_stands_beside_the_answer(client, changes, verdict):
    page = await see(client, page_of(await succeeded(client, **changes)))
    assert f"badge {verdict}" in [one.get("class") for one in page.all("span")]


async def test_a_failed_benchmark_says_why_and_where_the_logs_are(client):
    detail = "Asked for 2 GiB. <script>alert(1)</script>" + "W" * 10_000
    benchmark = await failed(client, detail, FailureCode.OUT_OF_MEMORY)
    page = await see(client, page_of(benchmark))
    assert "Out of memory" in page.text
    assert detail in page.text
    assert f"/benchmarks/{benchmark['id']}/logs" in page.links()
    assert not page.all("script")


async def test_a_cancelled_benchmark_says_so_and_can_be_run_again(client):
    page = await see(client, page_of(await cancelled(client)))
    assert "the benchmark was cancelled" in page.text
    assert "rerun" in page.ids()


async def test_what_happened_is_logged_newest_first(client):
    page = await see(client, page_of(await failed(client, "Torn.")))
    assert page.text.index("Failed: internal, Torn.") < page.text.index("Started: attempt 1, node:cpu")


async def test_unknown_purged_and_misspelt_ids_get_pages_that_say_so(client):
    assert "No benchmark has this id" in (await see(client, UNKNOWN, 404)).text
    assert "HALFTIME_RETENTION_DAYS" in (await see(client, f"/ui/benchmarks/{await purged(client)}", 410)).text
    assert "/path/benchmark_id" in (await see(client, "/ui/benchmarks/nonsense", 422)).text


async def test_cancelling_on_the_page_cancels_and_comes_back(client):
    benchmark = await post(client)
    response = await client.post(f"{page_of(benchmark)}/cancel", headers=FROM_HERE)
    assert (response.status_code, response.headers["Location"]) == (303, page_of(benchmark))
    assert (await client.get(f"/benchmarks/{benchmark['id']}")).json()["status"] == "cancelled"


async def test_cancelling_what_has_ended_says_that_it_has(client):
    benchmark = await succeeded(client)
    response = await client.post(f"{page_of(benchmark)}/cancel", headers=FROM_HERE)
    assert response.status_code == 409
    assert "has already succeeded" in parsed(response.text).text


async def test_running_again_on_the_page_shows_the_new_benchmark(client):
    benchmark = await post(client, CPU_JOB | {"labels": {"team": "ranking"}})
    await finish(client, benchmark)
    response = await client.post(f"{page_of(benchmark)}/rerun", headers=FROM_HERE)
    assert response.status_code == 303
    assert response.headers["Location"] != page_of(benchmark)
    assert "team: ranking" in (await see(client, response.headers["Location"])).text


async def test_the_page_of_a_finished_benchmark_is_304_when_it_is_known(client):
    benchmark = await succeeded(client)
    first = await client.get(page_of(benchmark), headers=BROWSER)
    again = await client.get(page_of(benchmark), headers=BROWSER | {"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
