"""How much may be submitted: a key's quota, and the queue's limit."""

import re

import anyio
import pytest
from sqlalchemy import text

from app.store import keys
from app.store.keys import WINDOW
from tests.app.routes.test_keys import CPU_JOB, make_key

pytestmark = pytest.mark.anyio

#: Of the queue, in this file.
MAX_QUEUED = 6

HOUR_SECONDS = int(WINDOW.total_seconds())


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"max_queued": MAX_QUEUED})


async def post(client, headers=None):
    return await client.post("/benchmarks", json=CPU_JOB, headers=headers)


async def post_sweep(client, size, headers=None):
    body = {"request": CPU_JOB, "vary": {"batch_sizes": list(range(1, size + 1))}}
    return await client.post("/sweeps", json=body, headers=headers)


async def stored(client):
    async with client.app.state.database.sessions() as session:
        counts = [await session.scalar(text(f"SELECT count(*) FROM {table}")) for table in ("benchmarks", "sweeps")]  # noqa: S608
    return tuple(counts)


async def grow_older(client, minutes):
    """Moves what was submitted back in time."""
    async with client.app.state.database.sessions.begin() as session:
        moved = text("UPDATE key_submits SET submitted_at = submitted_at - make_interval(mins => :minutes)")
        await session.execute(moved.bindparams(minutes=minutes))


def left(response):
    """What remains of the quota, and the seconds until there is more."""
    remaining, seconds = re.fullmatch(r'"submits";r=(\d+);t=(\d+)', response.headers["RateLimit"]).groups()
    return int(remaining), int(seconds)


async def test_answers_to_a_key_with_a_quota_say_what_is_left(client):
    _, headers = await make_key(client.app, "submit", submits_per_hour=4)
    answers = [await post(client, headers), await post(client, headers), await post_sweep(client, 2, headers)]
    assert [left(answer)[0] for answer in answers] == [3, 2, 0]
    assert all(0 < left(answer)[1] <= HOUR_SECONDS for answer in answers)
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"submits";q=4;w=3600'}


async def test_a_submit_over_the_quota_is_told_when_to_try_again_and_stores_nothing(client):
    _, headers = await make_key(client.app, "submit", submits_per_hour=1)
    assert (await post(client, headers)).status_code == 202
    await grow_older(client, minutes=50)
    refused = await post(client, headers)
    assert refused.status_code == 429
    assert refused.json()["type"] == "/problems/quota_exceeded"
    assert 0 < int(refused.headers["Retry-After"]) <= 600
    assert left(refused) == (0, int(refused.headers["Retry-After"]))
    assert await stored(client) == (1, 0)


async def test_what_is_an_hour_old_no_longer_counts(client):
    _, headers = await make_key(client.app, "submit", submits_per_hour=1)
    await post(client, headers)
    await grow_older(client, minutes=60)
    assert (await post(client, headers)).status_code == 202


async def test_parallel_submits_do_not_pass_the_quota_together(client):
    _, headers = await make_key(client.app, "submit", submits_per_hour=2)
    statuses = []

    async def submit():
        statuses.append((await post(client, headers)).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(submit)
    assert sorted(statuses) == [202] * 2 + [429] * 6


async def test_a_sweep_over_the_quota_waits_for_all_its_places_and_stores_nothing(client):
    _, headers = await make_key(client.app, "submit", submits_per_hour=4)
    await post(client, headers)
    await grow_older(client, minutes=30)
    assert (await post_sweep(client, 2, headers)).status_code == 202
    refused = await post_sweep(client, 3, headers)
    assert refused.status_code == 429
    assert left(refused)[0] == 1
    assert left(refused)[1] <= 1800 < int(refused.headers["Retry-After"]) <= HOUR_SECONDS
    assert await stored(client) == (3, 1)


async def test_a_sweep_beyond_any_hour_is_told_to_be_smaller(client):
    _, headers = await make_key(client.app, "submit", submits_per_hour=2)
    refused = await post_sweep(client, 3, headers)
    assert refused.status_code == 429
    assert "fewer at a time" in refused.json()["detail"]


async def test_a_quota_is_of_one_key(client):
    _, limited = await make_key(client.app, "submit", submits_per_hour=1)
    _, other = await make_key(client.app, "submit")
    answers = [await post(client, headers) for headers in (limited, other, other, limited)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert "RateLimit" not in answers[1].headers


async def test_what_was_deleted_still_counts(client):
    _, headers = await make_key(client.app, "submit", submits_per_hour=2)
    for _ in range(2):
        location = (await post(client, headers)).headers["Location"]
        await client.post(f"{location}/cancel", headers=headers)
        assert (await client.delete(location, headers=headers)).status_code == 204
    assert (await post(client, headers)).status_code == 429
    assert await stored(client) == (0, 0)


async def test_only_what_may_still_count_is_kept(client):
    _, headers = await make_key(client.app, "submit", submits_per_hour=3)
    await post_sweep(client, 2, headers)
    await grow_older(client, minutes=60)
    await post(client, headers)
    assert (await post_sweep(client, 3, headers)).status_code == 429
    async with client.app.state.database.sessions() as session:
        assert list(await session.scalars(text("SELECT benchmarks FROM key_submits"))) == [1]


async def test_submits_of_the_same_moment_are_counted_together(database):
    key_id, _ = await make_key(database, "submit")
    async with database.sessions.begin() as session:
        await keys.count_submits(session, key_id, 2)
        await keys.count_submits(session, key_id, 3)
        assert await keys.submitted_lately(session, key_id) == 5


async def test_a_full_queue_takes_no_more_until_there_is_room(client):
    admitted = [await post(client) for _ in range(MAX_QUEUED)]
    refused = await post(client)
    assert refused.status_code == 503
    assert refused.json()["type"] == "/problems/queue_full"
    assert "HALFTIME_MAX_QUEUED" in refused.json()["detail"]
    assert int(refused.headers["Retry-After"]) > 0
    assert await stored(client) == (MAX_QUEUED, 0)
    await client.post(f"{admitted[0].headers['Location']}/cancel")
    assert (await post(client)).status_code == 202


async def test_a_sweep_that_would_overfill_the_queue_is_refused_whole(client):
    await post(client)
    assert (await post_sweep(client, MAX_QUEUED, None)).status_code == 503
    assert await stored(client) == (1, 0)
    assert (await post_sweep(client, MAX_QUEUED - 1, None)).status_code == 202
