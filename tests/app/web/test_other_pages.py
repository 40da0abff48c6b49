"""The comparison, the workers, a sweep."""

import uuid
from urllib.parse import urlencode

import pytest
from sqlalchemy import text

from tests.app.acts import CEILINGS, CPU_JOB, EMULATED, finish, post, register, support
from tests.app.reports.explained import explained
from tests.app.web.browsing import FROM_HERE, cancelled, page_of, parsed, see, succeeded
from tests.factories import request

pytestmark = pytest.mark.anyio


def compared(*benchmarks):
    return "/ui/compare?" + "&".join(f"ids={one['id']}" for one in benchmarks)


async def test_reports_are_held_against_the_first(client):
    first, faster = await succeeded(client), await succeeded(client, baseline_seconds=0.01)
    page = await see(client, compared(first, faster))
    assert page.text.count("2.00× 2.00–2.00") == 2
    assert "FP32 2.000 (1.8" in page.text
    assert "The speedup of BF16 is 1.000 (1.000 to 1.000) × that of the first." in page.text
    assert "2 MiB → 1 MiB" in page.text
    assert "are the same in all reports" in page.text


async def test_what_differs_between_environments_is_in_a_table(client):
    other = dict.fromkeys(["torch", "device", "python", "os", "halftime"], "<b>another</b>")
    changed = await succeeded(client, environment=other | {"cuda": "13.0", "driver": None, "threads": 2})
    page = await see(client, compared(await succeeded(client), changed))
    assert "torch 2 <b>another</b>" in page.text
    assert "cuda – 13.0" in page.text
    assert "threads" not in page.text


async def test_other_work_is_shown_but_not_held_against_the_first(client):
    other = await post(client)
    await finish(client, other, request(training={"batch_size": 16, "steps": 6, "warmup_steps": 2}))
    page = await see(client, compared(await succeeded(client), other))
    assert "training.batch_size is 8 in the baseline and 16 in the contender" in page.text
    assert "Step time, first" not in page.text


async def test_where_the_time_goes_is_shown_of_reports_that_say_it(client):
    plain, first = await succeeded(client), await succeeded(client, completed=explained)
    assert "splits" not in (await see(client, compared(plain, await succeeded(client)))).ids()
    page = await see(client, compared(plain, first))
    assert "FP32 20.1 ms matrix products 46 %, elementwise 16 %, attention 11 %" in page.text.replace("\u00a0", " ")
    assert page.text.count("BF16 10.1 ms ") == 1


async def test_without_ids_there_are_some_to_choose_from(client):
    made = await succeeded(client)
    await post(client)
    page = await see(client, "/ui/compare")
    assert [one["value"] for one in page.all("input")] == [made["id"]]
    assert "fault" not in page.ids()


async def test_one_seven_or_misspelt_ids_are_refused_with_the_choice_kept(client):
    made = await succeeded(client)
    seven = "&".join(f"ids={uuid.uuid4()}" for _ in range(7))
    for query in (f"ids={made['id']}", f"ids={made['id']}&ids={made['id']}", seven):
        assert "Choose 2 to 6 benchmarks." in (await see(client, f"/ui/compare?{query}", 422)).text
    page = await see(client, f"/ui/compare?ids={made['id']},<script>", 422)
    assert "One of these is not the id of a benchmark." in page.text
    assert ["checked" in one for one in page.all("input")] == [True]


async def test_what_has_no_report_cannot_be_compared(client):
    made = await succeeded(client)
    assert "cancelled" in (await see(client, compared(made, await cancelled(client)), 409)).text
    assert "No benchmark has this id" in (await see(client, compared(made, {"id": uuid.uuid4()}), 404)).text


async def test_workers_show_their_device_state_and_what_they_ran(client):
    await register(client, "cuda", worker_id="<b>node</b>:cuda:0")
    await register(client)
    ran = await succeeded(client)
    page = await see(client, "/ui/workers")
    assert "NVIDIA H200 <b>node</b>:cuda:0 idle Drain" in page.text
    assert "cuda, 16 GiB" in page.text
    assert page_of(ran) in page.links()
    assert "none among the newest 200 benchmarks" in page.text


async def test_workers_show_what_their_device_can_do_in_each_precision_and_what_to_do(client):
    await register(client, precisions=EMULATED)
    await register(client, "cuda", "node:cuda:0", [support("fp32", 5e13)])
    await register(client, worker_id="older:cpu")
    page = await see(client, "/ui/workers")
    assert "fp32 220 GFLOP/s · fp16 emulated, 4.1 GFLOP/s · bf16 emulated, 3.8 GFLOP/s · no tf32" in page.text
    assert "The device has no bf16 arithmetic: use fp32." in page.text
    assert "fp32 50 TFLOP/s" in page.text
    assert page.text.count("Precisions") == 2
    assert len(page.all("details")) == 1


async def test_workers_show_what_their_device_can_do_at_most_and_with_what_it_was_measured(client):
    await register(client, ceilings=CEILINGS)
    driven = CEILINGS.model_copy(update={"driver": "560.35.03"})
    await register(client, "cuda", "node:cuda:0", ceilings=driven)
    await register(client, worker_id="older:cpu")
    page = await see(client, "/ui/workers")
    assert "fp32 232 GFLOP/s · bf16 810 GFLOP/s · 64 KiB at 40.1 GB/s · 256 MiB at 12.3 GB/s" in page.text
    assert "620 ns a launch" in page.text
    assert "measured with torch 2.13.0, driver 560.35.03" in page.text
    assert page.text.count("Ceilings") == 2


async def test_the_form_has_a_hint_of_what_the_fleet_emulates(client):
    assert "emulated" not in (await see(client, "/ui/new")).text
    await register(client, precisions=EMULATED)
    page = await see(client, "/ui/new")
    assert "Precisions fp16, bf16: emulated on the CPU" in page.text
    (described,) = [
        one["aria-describedby"] for one in page.all("fieldset") if "aria-describedby" in one and "front" in one["id"]
    ]
    assert described in page.ids()


async def test_the_form_has_switches_for_the_explanation(client):
    controls = {one.get("data-pointer"): one for one in (await see(client, "/ui/new")).all("input")}
    for pointer, default in (("/config/explain", "true"), ("/config/explain/verify", "false")):
        assert controls[pointer]["data-control"] == "switch"
        assert controls[pointer]["data-default"] == default


async def test_the_form_opens_with_the_request_of_its_address(client):
    written = '{"model": {"kind": "mlp"}, "labels": {"a": "<b>&"}}'
    page = await see(client, f"/ui/new?{urlencode({'request': written})}")
    assert written in page.text


async def test_without_workers_the_page_says_how_to_start_one(client):
    assert "halftime worker" in (await see(client, "/ui/workers")).text


async def test_a_worker_is_drained_and_undrained_on_the_page(client):
    await register(client)
    for action, state in (("drain", "draining"), ("undrain", "idle")):
        (path,) = [one["action"] for one in (await see(client, "/ui/workers")).all("form")]
        assert path.endswith(f"/{action}")
        assert (await client.post(path, headers=FROM_HERE)).headers["Location"] == "/ui/workers"
        assert (await client.get("/workers")).json()["items"][0]["state"] == state
    assert (await client.post("/ui/workers/nobody/drain", headers=FROM_HERE)).status_code == 404


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ('{"model": {"kind": "mlp", "kind": "convnet"}}', "sets /model/kind more than once"),
        ('{"model": NaN}', "contains NaN"),
        ('{"model": {"kind": "mlp",}}', "This is not JSON: line 1, column 2"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
async def test_a_form_with_text_that_is_not_strict_json_says_why_and_keeps_it(client, written, words):
    response = await client.post("/ui/new", data={"request": written}, headers=FROM_HERE)
    assert response.status_code == 400
    page = parsed(response.text)
    assert words in page.text
    assert written in page.text
    assert (await client.get("/benchmarks")).json()["items"] == []


async def test_a_silent_worker_is_offline(client):
    await register(client)
    async with client.app.state.database.sessions.begin() as session:
        await session.execute(text("UPDATE workers SET last_heartbeat = now() - interval '1 hour'"))
    page = await see(client, "/ui/workers")
    assert "badge offline" in [one.get("class") for one in page.all("span")]
    assert not page.all("form")


async def test_a_sweep_is_a_table_of_its_benchmarks(client):
    wanted = {"request": CPU_JOB, "vary": {"batch_sizes": [8, 16]}}
    sweep = (await client.post("/sweeps", json=wanted)).json()
    first, second = ({"id": row["benchmark_id"]} for row in sweep["rows"])
    await finish(client, first)
    page = await see(client, f"/ui/sweeps/{sweep['id']}")
    assert [link for link in page.links() if "/ui/benchmarks/" in link] == [page_of(first), page_of(second)]
    assert f"/ui/sweeps/{sweep['id']}" in (await see(client, page_of(first))).links()
    assert "1 succeeded" in page.text
    assert "BF16 over FP32 requirements met 2.00× 2.00–2.00 50 %" in page.text
    assert "Most of a step" not in page.text
    await finish(client, second, completed=explained)
    page = await see(client, f"/ui/sweeps/{sweep['id']}")
    assert "Most of a step: FP32 matrix products 46 %, elementwise 16 %, attention 11 %; BF16 " in page.text.replace(
        "\u00a0", " "
    )
    assert "No sweep has this id." in (await see(client, f"/ui/sweeps/{uuid.uuid4()}", 404)).text
