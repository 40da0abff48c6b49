"""What a request would be and cost, without storing it; and a request run again."""

import uuid

import pytest
from sqlalchemy import text

from tests.app.acts import CPU_JOB, finish, post, register

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
    assert (found["cost"]["least_trials"], found["cost"]["most_trials"]) == (12, 32)


async def test_a_control_leg_costs_trials_too(client):
    found = await preview(client, {"model": MLP, "config": {"device": "cpu", "measurement": {"control": True}}})
    assert found["cost"]["least_trials"] == 18


async def test_without_a_finished_benchmark_no_time_is_made_up(client):
    cost = (await preview(client))["cost"]
    assert cost["least_seconds"] is cost["most_seconds"] is None
    assert "bf16, fp32" in cost["basis"]
    assert cost["most_training_flops"] == pytest.approx(cost["least_training_flops"] * 16 / 6)


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
