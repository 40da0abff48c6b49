"""The attack list: every request of it is refused at its place, nothing is stored, nothing of its size is allocated."""

import json
import tracemalloc

import pytest
from sqlalchemy import text

from testing.attacks import ATTACKS

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}

#: Several times what the longest body of the list takes when it is parsed.
MOST_BYTES = 64 * 2**20


async def post(client, body):
    # `ensure_ascii` carries lone surrogates as escapes, as a client's JSON would.
    return await client.post("/benchmarks", content=json.dumps(body, ensure_ascii=True), headers=JSON)


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_is_refused_at_its_place(client, name):
    body, place = ATTACKS[name]
    response = await post(client, body)
    assert response.status_code == 422, response.text
    assert place in [fault["loc"] for fault in response.json()["errors"]], response.text


async def test_the_list_stores_and_allocates_nothing(client):
    tracemalloc.start()
    for body, _ in ATTACKS.values():
        await post(client, body)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < MOST_BYTES
    async with client.app.state.database.sessions() as session:
        assert await session.scalar(text("SELECT count(*) FROM benchmarks")) == 0
        entries = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'run_benchmark'"  # upkeep has its own
        assert await session.scalar(text(entries)) == 0
