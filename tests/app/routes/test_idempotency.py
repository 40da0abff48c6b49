"""A submit with a key may be repeated: by a client that lost the answer, or by many at once; a sweep's too."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from app.store.upkeep import retention
from tests.app.acts import CPU_JOB, post

pytestmark = pytest.mark.anyio

SWEEP = {"request": CPU_JOB, "vary": {"batch_sizes": [8, 16]}}
KEY = {"Idempotency-Key": "a-key"}


async def count(client, table):
    async with client.app.state.database.sessions() as session:
        return await session.scalar(text(f"SELECT count(*) FROM {table}"))  # noqa: S608 # of ours


async def entries(client):
    """Of benchmarks: the queue has its own beside them."""
    async with client.app.state.database.sessions() as session:
        return await session.scalar(text("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'run_benchmark'"))


async def test_the_same_key_with_the_same_request_is_the_same_benchmark_as_it_is_now(client):
    first = await post(client, **KEY)
    await client.post(f"/benchmarks/{first['id']}/cancel")
    again = await post(client, **KEY)
    assert again["id"] == first["id"]
    assert again["status"] == "cancelled"
    assert await count(client, "benchmarks") == 1


async def test_a_request_in_another_order_is_the_same_request(client):
    asked = CPU_JOB | {"labels": {"a": "1", "b": "2"}}
    first = await post(client, asked, **KEY)
    turned = {"labels": {"b": "2", "a": "1"}} | dict(reversed(CPU_JOB.items()))
    assert list(turned) != list(asked)
    assert (await post(client, turned, **KEY))["id"] == first["id"]


@pytest.mark.parametrize("other", [{"priority": 1}, {"model": {"kind": "convnet"}}], ids=str)
async def test_the_same_key_with_another_request_is_refused_and_changes_nothing(client, other):
    first = await post(client, **KEY)
    response = await client.post("/benchmarks", json=CPU_JOB | other, headers=KEY)
    assert response.status_code == 422
    assert response.json()["type"] == "/problems/idempotency_key_reused"
    assert await count(client, "benchmarks") == 1
    assert (await post(client, **KEY))["id"] == first["id"]


async def test_other_keys_and_none_make_other_benchmarks(client):
    keys = [KEY, {"Idempotency-Key": "another"}, {}, {}]
    assert len({(await post(client, **key))["id"] for key in keys}) == 4


async def test_a_refused_request_leaves_its_key_free(client):
    refused = await client.post("/benchmarks", json={"model": {"kind": "none"}}, headers=KEY)
    assert refused.status_code == 422
    assert (await post(client, **KEY))["status"] == "queued"


async def test_a_deleted_benchmark_frees_its_key(client):
    first = await post(client, **KEY)
    await client.post(f"/benchmarks/{first['id']}/cancel")
    assert (await client.delete(f"/benchmarks/{first['id']}")).status_code == 204
    assert (await post(client, **KEY))["id"] != first["id"]


@pytest.mark.parametrize("key", ["", "two words", "k" * 256, "schlüssel".encode(), "\x7f"])
async def test_a_key_that_is_none_is_refused(client, key):
    response = await client.post("/benchmarks", json=CPU_JOB, headers={"Idempotency-Key": key})
    assert response.status_code == 422
    assert await count(client, "benchmarks") == 0


async def test_a_key_of_a_sweep_is_the_same_sweep_as_it_is_now(client):
    first = (await client.post("/sweeps", json=SWEEP, headers=KEY)).json()
    await client.post(f"/benchmarks/{first['rows'][0]['benchmark_id']}/cancel")
    again = await client.post("/sweeps", json=SWEEP, headers=KEY)
    assert again.status_code == 202
    assert again.headers["Location"] == f"/sweeps/{first['id']}"
    assert again.json()["counts"] == {"cancelled": 1, "queued": 1}
    assert [await count(client, table) for table in ("sweeps", "benchmarks")] == [1, 2]


async def test_a_key_of_a_sweep_with_another_is_refused_and_changes_nothing(client):
    await client.post("/sweeps", json=SWEEP, headers=KEY)
    for path, body in [("/sweeps", SWEEP | {"vary": {"batch_sizes": [8, 32]}}), ("/benchmarks", CPU_JOB)]:
        response = await client.post(path, json=body, headers=KEY)
        assert response.status_code == 422
        assert response.json()["type"] == "/problems/idempotency_key_reused"
    assert [await count(client, table) for table in ("sweeps", "benchmarks")] == [1, 2]


async def test_a_key_of_a_benchmark_stands_for_no_sweep(client):
    await post(client, **KEY)
    assert (await client.post("/sweeps", json=SWEEP, headers=KEY)).status_code == 422
    assert [await count(client, table) for table in ("sweeps", "benchmarks")] == [0, 1]


async def test_a_purged_sweep_frees_its_key(client):
    first = (await client.post("/sweeps", json=SWEEP, headers=KEY)).json()
    for row in first["rows"]:
        await client.post(f"/benchmarks/{row['benchmark_id']}/cancel")
    await retention.apply(client.app.state.database.sessions, timedelta())
    again = await client.post("/sweeps", json=SWEEP, headers=KEY)
    assert again.json()["id"] != first["id"]


async def test_16_sweeps_at_once_with_one_key_make_one(live):
    answers = await asyncio.gather(*(live.post("/sweeps", json=SWEEP, headers=KEY) for _ in range(16)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [await count(live, table) for table in ("sweeps", "benchmarks")] == [1, 2]
    assert await entries(live) == 2


async def test_64_posts_at_once_with_one_key_make_one_benchmark(live):
    answers = await asyncio.gather(*(live.post("/benchmarks", json=CPU_JOB, headers=KEY) for _ in range(64)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [await count(live, table) for table in ("benchmarks", "events")] == [1, 1]
    assert await entries(live) == 1
