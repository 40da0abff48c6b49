"""A worker that is told to take no more: what the API shows of it, and what it may claim."""

import pytest

from tests.app.acts import claim, post, register

pytestmark = pytest.mark.anyio


async def state(client):
    (worker,) = (await client.get("/workers")).json()["items"]
    return worker["state"]


async def test_a_drained_worker_is_shown_as_such_until_it_is_undrained(client):
    await register(client)
    for _ in range(2):  # repeating it is harmless
        response = await client.post("/workers/node:cpu/drain")
        assert (response.status_code, response.json()["state"]) == (200, "draining")
    assert await state(client) == "draining"
    assert (await client.post("/workers/node:cpu/undrain")).json()["state"] == "idle"
    assert await state(client) == "idle"


async def test_a_restart_does_not_undrain(client):
    await register(client)
    await client.post("/workers/node:cpu/drain")
    await register(client)
    assert await state(client) == "draining"


@pytest.mark.parametrize("action", ["drain", "undrain"])
@pytest.mark.parametrize(("worker_id", "status"), [("gone", 404), ("a%00b", 422), ("x" * 256, 422)])
async def test_a_worker_that_is_not_there_cannot_be_drained(client, action, worker_id, status):
    assert (await client.post(f"/workers/{worker_id}/{action}")).status_code == status


async def test_a_draining_worker_claims_nothing_and_leaves_the_benchmark_in_the_queue(client):
    await register(client)
    benchmark = await post(client)
    await client.post("/workers/node:cpu/drain")
    assert await claim(client, benchmark) is None
    queued = (await client.get(f"/benchmarks/{benchmark['id']}")).json()
    assert (queued["status"], queued["attempt"], queued["queue"]["position"]) == ("queued", 0, 1)
    await client.post("/workers/node:cpu/undrain")
    assert await claim(client, benchmark) is not None


async def test_a_draining_worker_is_not_counted_among_those_that_could_take_a_benchmark(client):
    await register(client)
    await client.post("/workers/node:cpu/drain")
    assert (await post(client))["queue"]["workers_online"] == 0


async def test_a_cuda_benchmark_waits_for_a_draining_worker_rather_than_fail(client):
    await register(client, "cuda", "node:cuda:0")
    await client.post("/workers/node:cuda:0/drain")
    assert (await post(client, {"model": {"kind": "mlp"}}))["status"] == "queued"
