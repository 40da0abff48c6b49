"""Warnings of precisions that devices emulate or lack, from the submit on until the report has its own."""

import pytest

from app.store import claims
from app.store.history.forewarnings import precision_warnings
from halftime.contract.request.request import BenchmarkRequest
from tests.app.acts import CPU_JOB, EMULATED, NATIVE_BF16, claim, finish, post, register, support
from tests.factories import CPU

pytestmark = pytest.mark.anyio

BF16 = "bf16 is emulated: The device has no bf16 arithmetic: use fp32."


def warned_of(config, *fleet):
    request = BenchmarkRequest.model_validate({"model": {"kind": "mlp"}, "config": config})
    devices = [CPU.model_copy(update={"precisions": precisions}) for precisions in fleet]
    return [warning.split(":")[0] for warning in precision_warnings(request, devices)]


async def warnings_of(client, benchmark):
    return (await client.get(f"/benchmarks/{benchmark['id']}")).json()["warnings"]


async def requeue(client, held):
    async with client.app.state.database.sessions.begin() as session:
        await claims.requeue(session, held)


def test_baseline_and_candidates_are_looked_at_and_each_once():
    assert warned_of({"device": "cpu"}, EMULATED) == ["bf16 is emulated"]
    config = {"device": "auto", "baseline": "bf16", "candidates": ["fp16", "bf16", "tf32", "fp32"]}
    assert warned_of(config, EMULATED) == ["bf16 is emulated", "fp16 is emulated", "tf32 is absent"]


def test_a_device_that_emulates_tells_more_than_one_that_lacks():
    lacks = [support("bf16", kernels="absent")]
    assert warned_of({"device": "cpu"}, lacks, EMULATED) == ["bf16 is emulated"]
    assert warned_of({"device": "cpu"}, lacks) == ["bf16 is absent"]


def test_nothing_is_said_of_an_unknown_device_or_where_one_is_native():
    assert warned_of({"device": "cpu"}) == []
    for other in (None, [], NATIVE_BF16):
        assert warned_of({"device": "cpu"}, EMULATED, other) == []


async def test_a_submitted_benchmark_is_warned_of_what_its_workers_emulate(client):
    await register(client, "cuda", "node:cuda:0", NATIVE_BF16)
    assert (await post(client))["warnings"] == []
    await register(client, precisions=EMULATED)
    benchmark = await post(client)
    assert benchmark["warnings"] == [BF16]
    assert (await post(client, {"model": {"kind": "mlp"}, "config": {"device": "cuda"}}))["warnings"][0].startswith(
        "fp16 is emulated"
    )
    await finish(client, benchmark)
    assert BF16 not in await warnings_of(client, benchmark)


async def test_the_benchmarks_of_a_sweep_are_warned_of_too(client):
    await register(client, precisions=EMULATED)
    sweep = (await client.post("/sweeps", json={"request": CPU_JOB, "vary": {"batch_sizes": [8, 16]}})).json()
    assert [await warnings_of(client, {"id": row["benchmark_id"]}) for row in sweep["rows"]] == [[BF16], [BF16]]


async def test_who_takes_a_benchmark_decides_what_is_warned_of(client):
    await register(client, precisions=EMULATED)
    benchmark = await post(client)
    await register(client, worker_id="other:cpu", precisions=NATIVE_BF16)
    held = await claim(client, benchmark, "other:cpu")
    assert await warnings_of(client, benchmark) == []
    await requeue(client, held)
    await claim(client, benchmark)
    assert await warnings_of(client, benchmark) == [BF16]


async def test_of_a_worker_that_measured_nothing_nothing_is_said(client):
    await register(client, precisions=EMULATED)
    benchmark = await post(client)
    await register(client, worker_id="older:cpu")
    await claim(client, benchmark, "older:cpu")
    assert await warnings_of(client, benchmark) == []
