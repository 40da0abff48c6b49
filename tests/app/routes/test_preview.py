"""What a request would be and cost, without storing it; and a request run again."""

import uuid

import pytest
from sqlalchemy import text

from app.store.history.costs import LEAST_SHARE_OF_PRODUCTS, OVERHEAD_SECONDS
from tests.app.acts import CPU_JOB, EMULATED, NATIVE_BF16, finish, post, register, support

pytestmark = pytest.mark.anyio

#: What the made report trains: its work is known, so an estimate can be reckoned from it.
MLP = {"kind": "mlp", "input_size": 8, "hidden_size": 16, "num_layers": 1, "num_classes": 4}


async def preview(client, body=CPU_JOB):
    response = await client.post("/benchmarks", params={"validate_only": True}, json=body)
    assert response.status_code == 200, response.text
    async with client.app.state.database.sessions() as session:
        assert await session.scalar(text("SELECT count(*) FROM benchmarks WHERE status = 'queued'")) == 0
    return response.json()


async def test_defaults_are_filled_in_and_nothing_is_stored(client):
    found = await preview(client)
    assert found["request"]["config"]["training"]["steps"] == 60
    assert found["parameter_count"] > 0
    assert found["device"] == "cpu"
    assert found["workers_online"] == 0
    assert (found["cost"]["least_trials"], found["cost"]["most_trials"]) == (14, 34)


async def test_a_control_leg_costs_trials_too(client):
    found = await preview(client, {"model": MLP, "config": {"device": "cpu", "measurement": {"control": True}}})
    assert found["cost"]["least_trials"] == 21


async def test_measuring_what_advice_is_worth_costs_trials_too(client):
    """Of each of two candidates, three pieces of advice: a trial alone and three blocks of two."""
    config = {"device": "cpu", "candidates": ["bf16", "fp16"], "explain": {"verify": True}}
    cost = (await preview(client, {"model": MLP, "config": config}))["cost"]
    assert (cost["least_trials"], cost["most_trials"]) == (21, 51 + 42)
    assert cost["most_training_flops"] == pytest.approx(cost["least_training_flops"] * 93 / 21)


@pytest.mark.parametrize(
    "config",
    [
        {"measurement": {"pairing": "trials"}},
        {"data": {"kind": "synthetic", "loader": {}}},
        {"training": {"steps": 8, "warmup_steps": 5}},
    ],
)
async def test_where_legs_cannot_take_turns_there_is_no_survey(client, config):
    found = await preview(client, {"model": MLP, "config": {"device": "cpu"} | config})
    assert (found["cost"]["least_trials"], found["cost"]["most_trials"]) == (12, 32)


async def test_without_a_finished_benchmark_no_time_is_made_up(client):
    cost = (await preview(client))["cost"]
    assert cost["least_seconds"] is cost["most_seconds"] is None
    assert "bf16, fp32" in cost["basis"]
    assert cost["most_training_flops"] == pytest.approx(cost["least_training_flops"] * 17 / 7)


async def test_what_only_torch_can_count_has_no_cost_yet(client):
    found = await preview(client, {"model": {"kind": "transformers", "preset": "gpt2"}, "config": {"device": "cpu"}})
    assert found["parameter_count"] is None
    assert found["cost"]["least_training_flops"] is found["cost"]["least_seconds"] is None


async def test_the_time_is_that_of_finished_benchmarks_on_such_a_device(client):
    await finish(client, await post(client))
    asked = {"model": MLP, "config": {"device": "cpu", "training": {"batch_size": 8, "steps": 100}}}
    once = (await preview(client, asked))["cost"]
    asked["config"]["training"]["steps"] = 200
    twice = (await preview(client, asked))["cost"]
    assert 0 < once["least_seconds"] < once["most_seconds"]
    assert once["least_seconds"] < twice["least_seconds"] < 2.01 * once["least_seconds"]
    assert "last 1 benchmarks on a cpu device" in once["basis"]
    await register(client, "cuda", "node:cuda:0")
    asked["config"]["device"] = "cuda"
    assert (await preview(client, asked))["cost"]["least_seconds"] is None


def job(candidates, **measurement):
    training = {"batch_size": 8192, "steps": 10_000}
    config = {"device": "cpu", "candidates": candidates, "training": training, "measurement": measurement}
    return {"model": MLP, "config": config}


async def test_before_the_first_benchmark_the_time_comes_from_what_the_workers_measured(client):
    await register(client, precisions=[support("fp32", 1e9), support("bf16", 4e9)])
    cost = (await preview(client, job(["bf16"], time_budget_seconds=86_400)))["cost"]
    block_seconds = cost["least_training_flops"] / 7 / 2 * (1 / 1e9 + 1 / 4e9)
    assert cost["least_seconds"] == pytest.approx(7 * block_seconds)
    assert cost["most_seconds"] == pytest.approx(17 * (block_seconds / LEAST_SHARE_OF_PRODUCTS + 2 * OVERHEAD_SECONDS))
    assert cost["basis"].startswith("the matrix product rates of the online workers")


async def test_the_rate_is_the_median_of_the_workers_that_could_take_it(client):
    for number, rate in enumerate((1e9, 2e9, 9e9)):
        await register(client, worker_id=f"node-{number}:cpu", precisions=[support("fp32", rate)])
    await register(client, "cuda", "node:cuda:0", [support("fp32", 1e15)])
    cost = (await preview(client, job(["fp32"], time_budget_seconds=86_400)))["cost"]
    assert cost["least_seconds"] == pytest.approx(cost["least_training_flops"] / 2e9)


async def test_no_time_is_longer_than_the_budget(client):
    await register(client, precisions=EMULATED)
    slow = job(["bf16"], time_budget_seconds=0.5)
    cost = (await preview(client, slow))["cost"]
    assert cost["least_seconds"] == cost["most_seconds"] == 0.5
    await finish(client, await post(client))
    cost = (await preview(client, slow))["cost"]
    assert "throughput of the last 1" in cost["basis"]
    assert cost["least_seconds"] == cost["most_seconds"] == 0.5


async def test_a_leg_that_no_benchmark_had_goes_by_what_the_workers_measured(client):
    await register(client, precisions=EMULATED)
    await finish(client, await post(client))
    known = (await preview(client, job(["bf16"], time_budget_seconds=86_400)))["cost"]
    both = (await preview(client, job(["bf16", "fp16"], time_budget_seconds=86_400)))["cost"]
    fp16_seconds = both["least_training_flops"] / 7 / 3 / 4.1e9
    assert both["least_seconds"] == pytest.approx(known["least_seconds"] + 7 * fp16_seconds, rel=0.01)
    assert both["basis"] == (
        "the throughput of the last 1 benchmarks on a cpu device, and for fp16 the matrix product rates of the "
        "online workers"
    )


async def test_a_precision_that_the_workers_lack_has_no_time_and_the_basis_says_so(client):
    await register(client, precisions=[support("fp32", 1e9), support("bf16", kernels="absent")])
    found = await preview(client, job(["bf16"]))
    assert found["cost"]["least_seconds"] is found["cost"]["most_seconds"] is None
    assert found["cost"]["basis"].endswith("and the online workers do not support bf16")
    assert found["warnings"] == ["bf16 is absent: The device has no bf16 arithmetic: use fp32."]


async def test_an_emulated_precision_is_warned_of_before_it_runs(client):
    await register(client, precisions=EMULATED)
    asked = job(["bf16", "fp16"])
    asked["config"]["baseline"] = "bf16"
    assert (await preview(client, asked))["warnings"] == [
        "bf16 is emulated: The device has no bf16 arithmetic: use fp32.",
        "fp16 is emulated: The device has no fp16 arithmetic: use fp32.",
    ]
    assert (await preview(client, job(["fp32"])))["warnings"] == []


async def test_where_one_worker_has_the_precision_or_says_nothing_there_is_no_warning(client):
    await register(client, precisions=EMULATED)
    for other in (NATIVE_BF16, None):
        await register(client, worker_id="other:cpu", precisions=other)
        assert (await preview(client, job(["bf16"])))["warnings"] == []


async def test_a_bad_request_is_refused_as_it_would_be(client):
    response = await client.post("/benchmarks", params={"validate_only": True}, json={"model": {"kind": "none"}})
    assert response.status_code == 422


async def test_a_rerun_is_a_new_benchmark_of_the_same_request(client):
    first = await post(client, CPU_JOB | {"labels": {"team": "ranking"}, "priority": 3})
    await finish(client, first)
    response = await client.post(f"/benchmarks/{first['id']}/rerun")
    again = response.json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/benchmarks/{again['id']}" != f"/benchmarks/{first['id']}"
    assert again["request"] == first["request"]
    assert (again["status"], again["labels"], again["priority"]) == ("queued", {"team": "ranking"}, 3)


async def test_an_unknown_benchmark_cannot_be_run_again(client):
    assert (await client.post(f"/benchmarks/{uuid.uuid4()}/rerun")).status_code == 404
