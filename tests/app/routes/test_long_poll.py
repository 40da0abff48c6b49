"""Waiting for a benchmark's end, and hearing of what happens to it, over real HTTP."""

import asyncio
import json
import uuid

import httpx
import psycopg
import pytest
from sqlalchemy import text

from app.routes.api import events
from app.routes.http import auth
from app.routes.http.auth import KEYS_REMEMBERED_SECONDS
from app.store import notifications
from app.store.database.connection import libpq_url
from tests.app.acts import CPU_JOB, claim, finish, post
from tests.app.routes.test_keys import asked_about_keys, make_key, revoke

pytestmark = pytest.mark.anyio

#: Open at once, of one key.
STREAMS = 40


async def cancel(client, benchmark):
    return (await client.post(f"/benchmarks/{benchmark['id']}/cancel")).json()


async def frames(stream):
    """The frames of a stream of server-sent events as pairs of event and data; comments left out."""
    frame = {}
    async for line in stream.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            frame[name] = value
        else:
            if "event" in frame:
                yield frame["event"], json.loads(frame["data"]), frame.get("id")
            frame = {}


def sse(live, benchmark, **headers):
    path = f"/benchmarks/{benchmark['id']}/events"
    return live.stream("GET", path, headers={"Accept": "text/event-stream"} | headers)


async def until_heard(live, benchmark):
    """Returns when the server watches the benchmark for somebody."""
    while uuid.UUID(benchmark["id"]) not in live.app.state.notifications.topics:
        await asyncio.sleep(0.01)


async def test_a_get_that_waits_answers_at_the_end(live):
    benchmark = await post(live)
    waiting = asyncio.create_task(live.get(f"/benchmarks/{benchmark['id']}", params={"wait": 30}))
    await until_heard(live, benchmark)
    await claim(live, benchmark)
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await cancel(live, benchmark)
    async with live.app.state.database.sessions.begin() as session:
        await session.execute(text("UPDATE benchmarks SET status = 'cancelled', version = version + 1"))
    assert (await waiting).json()["status"] == "cancelled"


async def test_a_get_that_waits_in_vain_answers_with_what_is(live):
    benchmark = await post(live)
    response = await live.get(f"/benchmarks/{benchmark['id']}", params={"wait": 0.1})
    assert response.json()["status"] == "queued"
    assert response.headers["Retry-After"]


async def test_waiting_for_what_has_ended_or_is_unknown_is_no_wait(live):
    benchmark = await post(live)
    await cancel(live, benchmark)
    response = await live.get(f"/benchmarks/{benchmark['id']}", params={"wait": 30})
    assert response.json()["status"] == "cancelled"
    assert (await live.get(f"/benchmarks/{uuid.uuid4()}", params={"wait": 30})).status_code == 404


async def test_waiting_with_an_etag_gives_304_where_nothing_changed(live):
    benchmark = await post(live)
    tag = (await live.get(f"/benchmarks/{benchmark['id']}")).headers["ETag"]
    response = await live.get(f"/benchmarks/{benchmark['id']}", params={"wait": 0.1}, headers={"If-None-Match": tag})
    assert response.status_code == 304


@pytest.mark.parametrize("wait", ["-1", "31", "nan", "inf", "soon"])
async def test_a_wait_beyond_the_bounds_is_refused(client, wait):
    benchmark = await post(client)
    response = await client.get(f"/benchmarks/{benchmark['id']}", params={"wait": wait})
    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == "/query/wait"


async def test_a_submit_may_prefer_to_wait(live):
    response = await live.post("/benchmarks", json=CPU_JOB, headers={"Prefer": "respond-async, wait=0"})
    assert response.status_code == 202
    assert response.headers["Preference-Applied"] == "wait=0"
    assert response.json()["status"] == "queued"


@pytest.mark.parametrize("prefer", ["wait", "wait=-1", "wait=soon", "handling=lenient", "wait=1.5", "x-wait=9"])
async def test_a_preference_that_is_not_understood_is_ignored(client, prefer):
    response = await client.post("/benchmarks", json=CPU_JOB, headers={"Prefer": prefer})
    assert response.status_code == 202
    assert "Preference-Applied" not in response.headers


async def test_a_stream_tells_what_was_and_what_comes_and_ends_with_the_benchmark(live):
    benchmark = await post(live)
    heard = []
    async with sse(live, benchmark) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        async for kind, data, seq in frames(stream):
            heard.append((kind, data, seq))
            if kind == "queued":
                asyncio.get_running_loop().create_task(finish(live, benchmark))
    numbered = [(kind, seq) for kind, _, seq in heard if seq]
    assert numbered == [("queued", "1"), ("started", "2"), ("succeeded", "3")]
    assert heard[-1] == ("done", {"status": "succeeded"}, None)


async def test_a_broken_stream_goes_on_where_it_was(live):
    benchmark = await post(live)
    await finish(live, benchmark)
    async with sse(live, benchmark, **{"Last-Event-ID": "2"}) as stream:
        heard = [(kind, seq) async for kind, _, seq in frames(stream)]
    assert heard == [("succeeded", "3"), ("done", None)]


@pytest.mark.parametrize("seq", ["99999999999999999999", "-1", "x", "٣", ""])
async def test_a_senseless_last_event_id_does_no_harm(live, seq):
    benchmark = await post(live)
    await cancel(live, benchmark)
    async with sse(live, benchmark, **{"Last-Event-ID": seq.encode()}) as stream:
        assert [kind async for kind, _, _ in frames(stream)][-1] == "done"


async def test_a_stream_of_a_deleted_benchmark_ends(live):
    benchmark = await post(live)
    await cancel(live, benchmark)
    async with live.app.state.database.sessions.begin() as session:
        await session.execute(text("UPDATE benchmarks SET status = 'running', version = version + 1"))
    async with sse(live, benchmark) as stream:
        await until_heard(live, benchmark)
        async with live.app.state.database.sessions.begin() as session:
            await session.execute(text("DELETE FROM benchmarks"))
        *_, (kind, data, _) = [frame async for frame in frames(stream)]
    assert (kind, data) == ("done", {"status": "deleted"})


async def test_a_quiet_stream_shows_that_it_lives(live, monkeypatch):
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", KEYS_REMEMBERED_SECONDS + 0.05)
    benchmark = await post(live)
    async with sse(live, benchmark) as stream:
        lines = stream.aiter_lines()
        while await anext(lines) != ": ping":
            pass


async def test_a_stream_of_a_revoked_key_ends_though_nothing_happens(live, monkeypatch):
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", KEYS_REMEMBERED_SECONDS + 0.05)
    key_id, headers = await make_key(live.app, "submit")
    benchmark = await post(live, **headers)
    heard = []
    async with asyncio.timeout(30), sse(live, benchmark, **headers) as stream:
        async for kind, _, _ in frames(stream):
            heard.append(kind)
            await revoke(live.app.state.database, key_id)
    assert heard == ["queued"]


async def test_many_streams_ask_once_about_their_key(live, monkeypatch):
    monkeypatch.setattr(auth, "KEYS_REMEMBERED_SECONDS", 3600)
    database = live.app.state.database
    live.app.state.access_gate = auth.AccessGate(database.sessions, live.app.state.settings)
    live.headers.update((await make_key(database, "submit"))[1])
    benchmark = await post(live)

    async def listen(hears_the_first):
        async with sse(live, benchmark) as stream:
            async for kind, _, _ in frames(stream):
                if kind == "queued":
                    hears_the_first.release()
        return kind

    with asked_about_keys(database) as questions:
        begun = asyncio.Semaphore(0)
        streams = [asyncio.create_task(listen(begun)) for _ in range(STREAMS)]
        for _ in streams:
            await begun.acquire()
        await finish_a_change(live)
        await cancel(live, benchmark)
        assert await asyncio.gather(*streams) == ["done"] * STREAMS
    assert len(questions) == 1


async def test_an_unknown_benchmark_has_no_stream(live):
    response = await live.get(f"/benchmarks/{uuid.uuid4()}/events", headers={"Accept": "text/event-stream"})
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"


async def test_a_client_that_goes_away_leaves_nothing_behind(live):
    benchmark = await post(live)
    for leave in (sse(live, benchmark), live.stream("GET", f"/benchmarks/{benchmark['id']}", params={"wait": 30})):
        with pytest.raises((TimeoutError, httpx.ReadTimeout)):
            async with asyncio.timeout(0.3), leave as stream:
                await stream.aread()
    topics = live.app.state.notifications.topics
    for _ in range(100):
        if not topics:
            break
        await asyncio.sleep(0.05)
        await finish_a_change(live)
    assert not topics


async def finish_a_change(live):
    async with live.app.state.database.sessions.begin() as session:
        await session.execute(text("UPDATE benchmarks SET version = version + 1"))


async def test_a_client_that_stops_reading_holds_up_its_own_stream_alone(live, monkeypatch):
    benchmark, batches = await post(live), []
    read = events.next_batch

    async def counted(*arguments):
        batches.append(await read(*arguments))
        return batches[-1]

    monkeypatch.setattr(events, "next_batch", counted)
    async with live.app.state.database.sessions.begin() as session:
        await session.execute(
            text(
                "INSERT INTO events (benchmark_id, seq, kind, data) SELECT id, seq, 'note', "
                "jsonb_build_object('text', repeat('x', 1000)) FROM benchmarks, generate_series(2, 50000) seq"
            )
        )
    _, writer = await asyncio.open_connection("127.0.0.1", live.base_url.port, limit=1024)
    head = f"GET /benchmarks/{benchmark['id']}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    writer.write(head.encode())
    before = None
    async with asyncio.timeout(60):
        while before != len(batches) or not batches:  # until it stands still
            before = len(batches)
            await asyncio.sleep(0.3)
    assert sum(len(piece.frames) for piece in batches) < 20_000_000 < 50_000 * 1000
    assert (await live.get(f"/benchmarks/{benchmark['id']}")).status_code == 200
    writer.transport.abort()


async def test_a_thousand_waiters_cost_one_reading(live, monkeypatch):
    benchmark = await post(live)
    readings = []
    with live.app.state.notifications.watch(uuid.UUID(benchmark["id"])) as first:

        async def load():
            readings.append(1)
            await asyncio.sleep(0.05)
            return "read"

        assert await asyncio.gather(*(first.read("what", load) for _ in range(1000))) == ["read"] * 1000
    assert len(readings) == 1


async def test_a_reading_that_fails_is_tried_again(live):
    benchmark = await post(live)
    with live.app.state.notifications.watch(uuid.UUID(benchmark["id"])) as watch:

        async def broken():
            raise OSError("away")

        async def mended():
            return "read"

        with pytest.raises(OSError, match="away"):
            await watch.read("what", broken)
        assert await watch.read("what", mended) == "read"


async def test_waiters_hear_of_the_end_after_the_listening_connection_was_cut(live, monkeypatch):
    monkeypatch.setattr(notifications, "RETRY_SECONDS", 0.05)
    benchmark = await post(live)
    waiting = asyncio.create_task(live.get(f"/benchmarks/{benchmark['id']}", params={"wait": 30}))
    await until_heard(live, benchmark)
    url = libpq_url(live.app.state.database.url)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        listeners = "FROM pg_stat_activity WHERE query LIKE 'LISTEN%' OR query = 'SELECT 1'"
        cut = await connection.execute(f"SELECT count(pg_terminate_backend(pid)) {listeners}")
        assert (await cut.fetchone())[0] >= 1
    await cancel(live, benchmark)
    assert (await waiting).json()["status"] == "cancelled"
