"""Two reports against each other: over HTTP, and the arithmetic."""

import math
import uuid

import numpy as np
import pytest

from app.reports.compare import ratio
from halftime.contract.report.estimate import Estimate
from tests.app.acts import finish, post
from tests.app.reports.explained import explained
from tests.factories import request

pytestmark = pytest.mark.anyio


async def two(client, asked=None, **changes):
    """Two succeeded benchmarks, the second with changes."""
    first, second = await post(client), await post(client)
    await finish(client, first)
    await finish(client, second, asked, **changes)
    return {"baseline": first["id"], "contender": second["id"]}


async def test_a_contender_of_twice_the_speed_shows_a_ratio_of_two(client):
    found = (await client.get("/compare", params=await two(client, baseline_seconds=0.01))).json()
    assert [leg["precision"] for leg in found["legs"]] == ["fp32", "bf16"]
    for leg in found["legs"]:
        assert leg["step_time_ratio"]["value"] == pytest.approx(2)
        assert leg["step_time_ratio"]["ci_low"] < 2 < leg["step_time_ratio"]["ci_high"]
        assert leg["peak_memory_ratio"] == 1
    (speedup,) = found["speedups"]
    assert speedup["candidate"] == "bf16"
    assert speedup["ratio"]["value"] == pytest.approx(1)
    assert found["environment"] == []
    assert found["warnings"] == []


async def test_what_differs_between_the_environments_is_named(client):
    sides = await two(
        client,
        environment=dict.fromkeys(["torch", "device", "python", "os", "halftime"], "another")
        | {"cuda": "13.0", "driver": None, "threads": 2},
    )
    found = (await client.get("/compare", params=sides)).json()
    assert {"name": "cuda", "baseline": None, "contender": "13.0"} in found["environment"]
    assert [fact["name"] for fact in found["environment"]] == ["torch", "cuda", "device", "python", "os", "halftime"]


async def test_other_work_is_not_comparable_and_says_why(client):
    asked = request(training={"batch_size": 16, "steps": 6, "warmup_steps": 2})
    response = await client.get("/compare", params=await two(client, asked))
    assert response.status_code == 422
    assert response.json()["type"] == "/problems/not_comparable"
    reasons = [fault["msg"] for fault in response.json()["errors"]]
    assert "training.batch_size is 8 in the baseline and 16 in the contender" in reasons
    assert "training.steps is 5 in the baseline and 6 in the contender" in reasons


async def test_other_data_is_other_work(client):
    text = {"model": {"kind": "transformer"}, "config": {"device": "cpu", "data": {"kind": "text"}}}
    first, second = await post(client, text), await post(client)
    await finish(client, first)
    await finish(client, second)
    response = await client.get("/compare", params={"baseline": first["id"], "contender": second["id"]})
    assert "they train on different data" in response.json()["detail"]


async def test_another_seed_is_a_warning(client):
    asked = request(training={"batch_size": 8, "steps": 5, "warmup_steps": 2, "seed": 1})
    found = (await client.get("/compare", params=await two(client, asked))).json()
    assert any("seeds differ" in warning for warning in found["warnings"])


async def test_where_the_time_goes_is_compared_where_a_report_says_it(client):
    plain, first, second = await post(client), await post(client), await post(client)
    await finish(client, plain)
    for one in (first, second):
        await finish(client, one, completed=explained)
    found = (await client.get("/compare", params={"baseline": first["id"], "contender": second["id"]})).json()
    fp32, bf16 = (leg["kinds"] for leg in found["legs"])
    assert fp32[0] == {
        "kind": "matrix_products",
        "baseline_share": pytest.approx(0.46),
        "contender_share": pytest.approx(0.46),
    }
    assert sum(one["contender_share"] for one in bf16) == pytest.approx(1)
    found = (await client.get("/compare", params={"baseline": plain["id"], "contender": second["id"]})).json()
    assert {one["baseline_share"] for one in found["legs"][0]["kinds"]} == {None}
    found = (await client.get("/compare", params={"baseline": plain["id"], "contender": plain["id"]})).json()
    assert [leg["kinds"] for leg in found["legs"]] == [[], []]


async def test_an_invalid_report_is_not_comparable(client):
    response = await client.get("/compare", params=await two(client, least_flops_per_step=10**18))
    assert response.status_code == 422
    assert "the contender's report is invalid" in response.json()["detail"]


async def test_what_has_no_report_yet_is_a_conflict(client):
    first, second = await post(client), await post(client)
    await finish(client, first)
    response = await client.get("/compare", params={"baseline": first["id"], "contender": second["id"]})
    assert response.status_code == 409
    assert response.json()["type"] == "/problems/report_not_ready"


async def test_an_unknown_benchmark_is_not_found(client):
    first = await post(client)
    await finish(client, first)
    params = {"baseline": first["id"], "contender": str(uuid.uuid4())}
    assert (await client.get("/compare", params=params)).status_code == 404


def test_the_interval_of_a_ratio_holds_the_truth_as_often_as_it_says():
    """Independent log-normal figures of unequal spread, each with the interval of its known spread."""
    chance, held, rounds = np.random.default_rng(0), 0, 4000

    def measured(truth, spread):
        value = truth * math.exp(chance.normal(0, spread))
        reach = math.exp(1.96 * spread)
        return Estimate(value=value, ci_low=value / reach, ci_high=value * reach)

    for _ in range(rounds):
        found = ratio(measured(3.0, 0.05), measured(2.0, 0.02))
        held += found.ci_low <= 1.5 <= found.ci_high
    assert 0.94 <= held / rounds <= 0.96
