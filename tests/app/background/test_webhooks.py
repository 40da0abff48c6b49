"""Webhooks: real HTTP to a receiver on loopback, through the queue that the API process serves."""

import contextlib
import json
import re
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest
from pydantic import ValidationError
from sqlalchemy import select, text
from standardwebhooks import Webhook, WebhookVerificationError

from app.background import queues, webhooks
from app.background.webhooks import Sender, refusal_of
from app.main import create_app
from app.settings import Settings
from app.store import benchmarks, claims
from app.store import webhooks as store
from app.store.database.tables import BenchmarkRow, WebhookDeliveryRow
from app.store.webhooks import Outcome
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.request.request import BenchmarkRequest
from tests.app.routes.test_benchmarks import claim

pytestmark = pytest.mark.anyio

SECRET = "whsec_" + "c2VjcmV0" * 4
OTHER_SECRET = "whsec_" + "b3RoZXI0" * 4
CPU_JOB = {"model": {"kind": "mlp"}, "config": {"device": "cpu"}}


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent, and answers with the statuses it was given, then 204. A callable answers itself."""

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"
        self.received, self.answers = [], []
        self.cut, self.released = threading.Event(), threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        self.released.set()
        self.shutdown()
        self.server_close()

    def ids(self):
        return [headers["webhook-id"] for headers, _ in self.received]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(({**self.headers, "path": self.path}, body))
        answer = self.server.answers.pop(0) if self.server.answers else 204
        if callable(answer):
            answer(self)
            return
        self.send_response(answer)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_):
        pass


def hangs(handler):
    handler.server.released.wait(30)


def endless(first):
    """Sends `first`, then the same line until it is cut off."""

    def answer(handler):
        with contextlib.suppress(OSError):
            handler.wfile.write(first)
            while not handler.server.released.is_set():
                handler.wfile.write(b"x-more: and more\r\n" * 100)
        handler.server.cut.set()
        handler.close_connection = True

    return answer


@pytest.fixture
def receiver(quick):
    running = Receiver()
    yield running
    running.stop()


@pytest.fixture
def settings(database_url):
    url = database_url.render_as_string(hide_password=False)
    return Settings(database_url=url, webhook_allowed_hosts="127.0.0.1", webhook_secret=SECRET)


@pytest.fixture
def quick(monkeypatch):
    """The queue is served at once, and attempts follow each other closely."""
    monkeypatch.setattr(queues, "START_SECONDS", 0.05)
    monkeypatch.setattr(queues, "POLLING_SECONDS", 0.1)
    monkeypatch.setattr(store, "BACKOFF_SECONDS", (0.05,) * 50)


@pytest.fixture
async def sender():
    made = Sender(Settings(webhook_allowed_hosts="127.0.0.1", webhook_secret=SECRET))
    yield made
    await made.close()


async def until(condition):
    """What the condition gives once it is truthy."""
    with anyio.fail_after(30):
        while not (found := await condition()):
            await anyio.sleep(0.02)
    return found


def asking(url, **webhook):
    return CPU_JOB | {"webhook": {"url": url, **webhook}}


async def end(client, url, **webhook):
    """A benchmark that has been cancelled."""
    response = await client.post("/benchmarks", json=asking(url, **webhook))
    assert response.status_code == 202, response.text
    await client.post(f"/benchmarks/{response.json()['id']}/cancel")
    return response.json()["id"]


async def only_delivery(client, benchmark_id):
    (found,) = (await client.get(f"/benchmarks/{benchmark_id}/webhook-deliveries")).json()["items"]
    return found


async def until_state(client, benchmark_id, state):
    async def reached():
        found = await only_delivery(client, benchmark_id)
        return found if found["state"] == state else None

    return await until(reached)


async def ended(database, url="http://127.0.0.1:9/hook", **webhook):
    """The delivery of a benchmark that has been cancelled, of an app that serves no queue."""
    request = BenchmarkRequest.model_validate_json(json.dumps(asking(url, **webhook)))
    async with database.sessions.begin() as session:
        row = await benchmarks.submit(session, request)
        await benchmarks.cancel(session, row.id)
    return await delivery_of(database, row.id)


async def delivery_of(database, benchmark_id):
    async with database.sessions() as session:
        (found,) = await store.deliveries(session, benchmark_id)
    return found


async def sweep(database):
    async with database.sessions.begin() as session:
        await store.sweep(session)


async def execute(database, statement):
    async with database.sessions.begin() as session:
        await session.execute(text(statement))


async def entries(database, status="todo"):
    query = "SELECT count(*) FROM procrastinate_jobs WHERE queue_name = 'webhooks' AND CAST(status AS text) = :status"
    async with database.sessions() as session:
        return await session.scalar(text(query).bindparams(status=status))


async def test_a_receiver_is_told_of_the_end_in_a_signed_message(receiver, client):
    benchmark_id = await end(client, receiver.url)
    found = await until_state(client, benchmark_id, "delivered")
    ((headers, body),) = receiver.received
    message = Webhook(SECRET).verify(body, headers)
    (item,) = (await client.get("/benchmarks")).json()["items"]
    assert (message["type"], message["data"]) == ("benchmark.cancelled", item)
    assert headers["webhook-id"] == found["id"]
    assert (found["attempts"], found["last_status"], found["next_attempt_at"]) == (1, 204, None)


async def test_a_forged_message_is_refused_by_the_library(sender, receiver):
    await sender.send(receiver.url, "id", '{"data": 1}')
    ((headers, body),) = receiver.received
    assert Webhook(SECRET).verify(body, headers) == {"data": 1}
    forgeries = [
        (SECRET, body.replace(b"1", b"2"), headers),
        (SECRET, body, headers | {"webhook-id": "other"}),
        (OTHER_SECRET, body, headers),
    ]
    for secret, sent, with_headers in forgeries:
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(sent, with_headers)


async def test_the_documented_receiver_takes_a_message_and_refuses_a_forged_one(receiver, client, monkeypatch, capsys):
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    (example,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "Webhook(" in block)
    documented = {}
    exec(example, documented)  # noqa: S102
    monkeypatch.setenv("HALFTIME_WEBHOOK_SECRET", SECRET)
    benchmark_id = await end(client, receiver.url)
    await until_state(client, benchmark_id, "delivered")
    ((headers, body),) = receiver.received
    assert documented["receive"](body, headers) == 204
    assert benchmark_id in capsys.readouterr().out
    assert documented["receive"](body + b" ", headers) == 401


async def test_a_stopped_receiver_gets_its_message_after_it_returns(quick, client):
    gone = Receiver()
    gone.stop()
    benchmark_id = await end(client, gone.url)

    async def tried_twice():
        found = await only_delivery(client, benchmark_id)
        return found if found["attempts"] >= 2 else None

    waiting = await until(tried_twice)
    assert (waiting["state"], waiting["last_status"]) == ("pending", None)
    assert "ConnectError" in waiting["last_error"]
    assert waiting["next_attempt_at"]
    back = Receiver(gone.server_port)
    try:
        delivered = await until_state(client, benchmark_id, "delivered")
        assert back.ids() == [delivered["id"]]
        assert delivered["last_error"] is None
    finally:
        back.stop()


async def test_what_is_not_taken_is_sent_again_under_the_same_id(receiver, client):
    receiver.answers = [500, 302, 404]
    benchmark_id = await end(client, receiver.url)
    found = await until_state(client, benchmark_id, "delivered")
    assert found["attempts"] == 4
    assert receiver.ids() == [found["id"]] * 4


async def test_a_receiver_that_is_gone_gets_no_more(receiver, client):
    receiver.answers = [410]
    benchmark_id = await end(client, receiver.url)
    found = await until_state(client, benchmark_id, "given_up")
    assert (found["attempts"], found["last_status"], found["next_attempt_at"]) == (1, 410, None)


async def test_what_was_given_up_can_be_replayed(receiver, client, monkeypatch):
    monkeypatch.setattr(store, "BACKOFF_SECONDS", (0.01,))
    receiver.answers = [500, 503]
    benchmark_id = await end(client, receiver.url)
    given_up = await until_state(client, benchmark_id, "given_up")
    assert (given_up["attempts"], given_up["last_error"]) == (2, "The receiver answered 503.")
    response = await client.post(f"/benchmarks/{benchmark_id}/webhook-deliveries/{given_up['id']}/replay")
    assert (response.status_code, response.json()["state"]) == (202, "pending")
    delivered = await until_state(client, benchmark_id, "delivered")
    assert delivered["attempts"] == 1
    assert receiver.ids() == [given_up["id"]] * 3


async def test_what_is_on_its_way_cannot_be_replayed(receiver, client, monkeypatch):
    monkeypatch.setattr(store, "BACKOFF_SECONDS", (3600.0,))
    receiver.answers = [500]
    benchmark_id = await end(client, receiver.url)
    delivery_id = (await only_delivery(client, benchmark_id))["id"]
    response = await client.post(f"/benchmarks/{benchmark_id}/webhook-deliveries/{delivery_id}/replay")
    assert (response.status_code, response.json()["type"]) == (409, "/problems/delivery_pending")


async def test_unknown_deliveries_are_not_found(receiver, client):
    benchmark_id = await end(client, receiver.url)
    for path in (
        f"/benchmarks/{benchmark_id}/webhook-deliveries/{uuid.uuid4()}/replay",
        f"/benchmarks/{uuid.uuid4()}/webhook-deliveries/{(await only_delivery(client, benchmark_id))['id']}/replay",
    ):
        assert (await client.post(path)).status_code == 404
    assert (await client.get(f"/benchmarks/{uuid.uuid4()}/webhook-deliveries")).status_code == 404


async def test_a_receiver_is_told_only_of_the_events_it_asks_for(receiver, client):
    response = await client.post("/benchmarks", json=asking(receiver.url, events=["started"]))
    benchmark = response.json()
    held = await claim(client, benchmark)
    async with client.app.state.database.sessions.begin() as session:
        await claims.fail(session, held, Failure.of(FailureCode.INTERNAL, "broken"))
    found = await until_state(client, benchmark["id"], "delivered")
    assert found["event"] == "started"


async def test_each_benchmark_of_a_sweep_tells(receiver, client):
    body = {"request": asking(receiver.url), "vary": {"batch_sizes": [8, 16, 32]}}
    rows = (await client.post("/sweeps", json=body)).json()["rows"]
    for row in rows:
        await client.post(f"/benchmarks/{row['benchmark_id']}/cancel")
    for row in rows:
        await until_state(client, row["benchmark_id"], "delivered")
    told = {json.loads(body)["data"]["id"] for _, body in receiver.received}
    assert told == {row["benchmark_id"] for row in rows}


async def test_two_processes_send_each_message_once(receiver, client, settings):
    other = create_app(settings)
    async with other.router.lifespan_context(other):
        ids = [await end(client, receiver.url) for _ in range(6)]
        for benchmark_id in ids:
            await until_state(client, benchmark_id, "delivered")
    assert len(receiver.ids()) == len(set(receiver.ids())) == 6


async def test_messages_go_out_again_after_the_database_s_connections_were_cut(receiver, client):
    await until_state(client, await end(client, receiver.url), "delivered")
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    others = "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    async with client.app.state.database.sessions() as session:
        assert len((await session.scalars(text(f"{cut} {others}"))).all()) >= 2
    await until_state(client, await end(client, receiver.url), "delivered")


async def test_a_queue_worker_that_dies_is_followed_by_another(receiver, client):
    await until_state(client, await end(client, receiver.url), "delivered")
    await execute(client.app.state.database, "DELETE FROM procrastinate_workers")  # it dies at its next claim
    await until_state(client, await end(client, receiver.url), "delivered")


async def test_a_process_that_stops_in_the_middle_leaves_the_message_to_the_next(
    settings, database, receiver, monkeypatch
):
    monkeypatch.setattr(queues, "GRACE_SECONDS", 0.01)
    receiver.answers = [hangs]
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        delivery = await ended(database, receiver.url)

        async def attempted():
            return receiver.received

        await until(attempted)
    interrupted = await delivery_of(database, delivery.benchmark_id)
    assert (interrupted.state, interrupted.attempts) == ("pending", 1)
    await execute(database, "UPDATE webhook_deliveries SET next_attempt_at = now() - interval '1 minute'")
    app = create_app(settings)
    async with app.router.lifespan_context(app):

        async def delivered():
            await sweep(database)  # what the queue's worker does every minute
            return (await delivery_of(database, delivery.benchmark_id)).state == "delivered"

        await until(delivered)
    assert receiver.ids() == [str(delivery.id)] * 2


async def test_a_redirect_is_not_followed(sender, receiver):
    receiver.answers = [307]
    outcome = await sender.send(receiver.url, "id", "{}")
    assert outcome == Outcome(307, "The receiver answered 307. Redirects are not followed: give the final URL.")
    assert [headers["path"] for headers, _ in receiver.received] == ["/hook"]


async def test_a_receiver_that_hangs_is_cut(sender, receiver, monkeypatch):
    monkeypatch.setattr(webhooks, "TIMEOUT_SECONDS", 0.2)
    receiver.answers = [hangs]
    assert await sender.send(receiver.url, "id", "{}") == Outcome(error="No response within 0.2 s.")


async def test_endless_headers_are_cut(sender, receiver):
    receiver.answers = [endless(b"HTTP/1.1 200 OK\r\n")]
    outcome = await sender.send(receiver.url, "id", "{}")
    assert outcome.status is None
    assert "RemoteProtocolError" in outcome.error
    assert await anyio.to_thread.run_sync(receiver.cut.wait, 20)


async def test_an_endless_body_is_cut_and_the_status_counts(sender, receiver):
    receiver.answers = [endless(b"HTTP/1.1 200 OK\r\n\r\n")]
    assert await sender.send(receiver.url, "id", "{}") == Outcome(200)
    assert await anyio.to_thread.run_sync(receiver.cut.wait, 20)


async def test_a_host_that_is_no_longer_allowed_is_not_contacted(receiver):
    sender = Sender(Settings(webhook_allowed_hosts="example.com", webhook_secret=SECRET))
    outcome = await sender.send(receiver.url, "id", "{}")
    assert "HALFTIME_WEBHOOK_ALLOWED_HOSTS" in outcome.error
    assert receiver.received == []


async def test_a_benchmark_whose_host_is_not_allowed_is_refused(client):
    response = await client.post("/benchmarks", json=asking("https://elsewhere.example/hook"))
    problem = response.json()
    assert (response.status_code, problem["type"]) == (422, "/problems/webhook_refused")
    assert "HALFTIME_WEBHOOK_ALLOWED_HOSTS" in problem["detail"]
    assert problem["errors"][0]["loc"] == "/webhook/url"
    sweep = {"request": asking("https://elsewhere.example/hook"), "vary": {"batch_sizes": [8, 16]}}
    assert (await client.post("/sweeps", json=sweep)).status_code == 422
    assert (await client.get("/benchmarks")).json()["items"] == []


NO_WEBHOOKS = [
    ({"url": "ftp://127.0.0.1/"}, "/webhook/url"),
    ({"url": "http://user:word@127.0.0.1/"}, "/webhook/url"),
    ({"url": "http://127.0.0.1/#part"}, "/webhook/url"),
    ({"url": "http://127.0.0.1/" + "x" * 3000}, "/webhook/url"),
    ({"url": "no URL"}, "/webhook/url"),
    ({"url": 1}, "/webhook/url"),
    ({}, "/webhook/url"),
    ({"url": "http://127.0.0.1/", "events": []}, "/webhook/events"),
    ({"url": "http://127.0.0.1/", "events": ["failed", "failed"]}, "/webhook/events"),
    ({"url": "http://127.0.0.1/", "events": ["queued"]}, "/webhook/events/0"),
    ({"url": "http://127.0.0.1/", "secret": "mine"}, "/webhook/secret"),
]


async def test_a_webhook_that_is_none_is_refused_at_its_fault(client):
    for webhook, place in NO_WEBHOOKS:
        response = await client.post("/benchmarks", json=CPU_JOB | {"webhook": webhook})
        assert response.status_code == 422, webhook
        assert [error["loc"] for error in response.json()["errors"]] == [place]
    assert (await client.get("/benchmarks")).json()["items"] == []


@pytest.mark.parametrize(
    ("hosts", "url", "allowed"),
    [
        ("ci.example.com", "https://ci.example.com/hook", True),
        ("CI.example.com , other", "http://ci.EXAMPLE.com:8080/", True),
        ("*.example.com", "https://a.b.example.com/", True),
        ("::1", "http://[::1]:8000/", True),
        ("*.example.com", "https://example.com/", False),
        ("*.example.com", "https://notexample.com/", False),
        ("example.com", "https://a.example.com/", False),
        ("example.com", "https://example.com.evil.example/", False),
        ("example.com", "https://evil.example/?example.com", False),
        ("example.com", "https://example.com@evil.example/", False),
        ("example.com", "http://2130706433/", False),
    ],
)
def test_only_listed_hosts_are_allowed(hosts, url, allowed):
    settings = Settings(webhook_allowed_hosts=hosts, webhook_secret=SECRET)
    assert (refusal_of(url, settings) is None) is allowed


def test_without_hosts_or_secret_the_setting_that_is_missing_is_named():
    assert "HALFTIME_WEBHOOK_ALLOWED_HOSTS" in refusal_of("https://a.example/", Settings(webhook_secret=SECRET))
    assert "HALFTIME_WEBHOOK_SECRET" in refusal_of("https://a.example/", Settings(webhook_allowed_hosts="a.example"))


@pytest.mark.parametrize(
    "hosts", ["https://example.com", "example.com:443", "example.com/hook", "*", "a.*.com", "1.2.3"]
)
def test_a_setting_that_names_no_host_is_refused(hosts):
    with pytest.raises(ValidationError, match="is not a host"):
        Settings(webhook_allowed_hosts=hosts)


@pytest.mark.parametrize("secret", ["whsec_c2hvcnQ=", "c2VjcmV0" * 4, "whsec_" + "?" * 40, "whsec_" + "c2VjcmV0" * 20])
def test_a_secret_that_is_none_is_refused_and_not_shown(monkeypatch, secret):
    monkeypatch.setenv("HALFTIME_WEBHOOK_SECRET", secret)
    with pytest.raises(ValidationError, match="openssl rand") as refused:
        Settings()
    assert secret not in str(refused.value)
    monkeypatch.setenv("HALFTIME_WEBHOOK_SECRET", SECRET)
    assert SECRET not in repr(Settings())


async def test_a_transaction_that_is_rolled_back_sends_nothing(database):
    request = BenchmarkRequest.model_validate_json(json.dumps(asking("http://127.0.0.1:9/")))
    with pytest.raises(RuntimeError):
        async with database.sessions.begin() as session:
            row = await benchmarks.submit(session, request)
            await benchmarks.cancel(session, row.id)
            raise RuntimeError
    async with database.sessions() as session:
        assert (await session.scalars(select(WebhookDeliveryRow))).all() == []
    assert await entries(database) == 0


async def test_a_worker_s_writes_make_deliveries_too(database):
    request = BenchmarkRequest.model_validate_json(
        json.dumps(asking("http://127.0.0.1:9/", events=["started", "failed"]))
    )
    async with database.sessions.begin() as session:
        row = await benchmarks.submit(session, request)
    async with database.sessions.begin() as session:
        held = await claims.take(session, row.id, row.queue_entry_id, "node:cpu", None)
    async with database.sessions.begin() as session:
        await claims.fail(session, held, Failure.of(FailureCode.INTERNAL, "broken"))
    async with database.sessions() as session:
        told = [(found.event, found.state) for found in await store.deliveries(session, row.id)]
    assert told == [("started", "pending"), ("failed", "pending")]
    assert await entries(database) == 2


async def test_an_attempt_lost_with_its_process_is_made_again_and_its_late_outcome_does_not_count(database):
    delivery = await ended(database)
    async with database.sessions.begin() as session:
        assert await store.begin(session, delivery.id, delivery.queue_entry_id) is not None
    await execute(database, "UPDATE procrastinate_jobs SET status = 'doing' WHERE queue_name = 'webhooks'")
    await sweep(database)
    assert (await delivery_of(database, delivery.benchmark_id)).queue_entry_id == delivery.queue_entry_id
    await execute(database, "UPDATE webhook_deliveries SET next_attempt_at = now() - interval '1 minute'")
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(sweep, database)
    again = await delivery_of(database, delivery.benchmark_id)
    assert again.queue_entry_id != delivery.queue_entry_id
    assert (await entries(database), await entries(database, "doing")) == (1, 0)
    async with database.sessions.begin() as session:
        await store.conclude(session, delivery.id, delivery.queue_entry_id, Outcome(204))
        assert await store.begin(session, delivery.id, delivery.queue_entry_id) is None
    assert (await delivery_of(database, delivery.benchmark_id)).state == "pending"


async def test_an_entry_that_waits_for_a_process_is_left_alone(database):
    delivery = await ended(database)
    await execute(database, "UPDATE webhook_deliveries SET next_attempt_at = now() - interval '1 day'")
    await sweep(database)
    assert (await delivery_of(database, delivery.benchmark_id)).queue_entry_id == delivery.queue_entry_id


async def test_a_message_whose_every_attempt_is_lost_is_given_up(database, monkeypatch):
    monkeypatch.setattr(store, "BACKOFF_SECONDS", ())
    delivery = await ended(database)
    async with database.sessions.begin() as session:
        await store.begin(session, delivery.id, delivery.queue_entry_id)
    await execute(database, "DELETE FROM procrastinate_jobs")
    await execute(database, "UPDATE webhook_deliveries SET next_attempt_at = now() - interval '1 minute'")
    await sweep(database)
    given_up = await delivery_of(database, delivery.benchmark_id)
    assert (given_up.state, given_up.next_attempt_at) == ("given_up", None)
    assert "lost" in given_up.last_error


async def test_the_pauses_grow_and_scatter(database):
    delivery = await ended(database)
    pauses = []
    for _ in store.BACKOFF_SECONDS:
        found = await delivery_of(database, delivery.benchmark_id)
        async with database.sessions.begin() as session:
            await store.begin(session, found.id, found.queue_entry_id)
        async with database.sessions.begin() as session:
            await store.conclude(session, found.id, found.queue_entry_id, Outcome(500, "broken"))
        after = await delivery_of(database, delivery.benchmark_id)
        pauses.append((after.next_attempt_at - after.last_attempt_at).total_seconds())
    for pause, meant in zip(pauses, store.BACKOFF_SECONDS, strict=True):
        assert meant * 0.8 <= pause < meant * 1.2 + 5
    assert pauses == sorted(pauses)


async def test_deleting_a_benchmark_takes_its_deliveries(database):
    delivery = await ended(database)
    async with database.sessions.begin() as session:
        await benchmarks.remove(session, delivery.benchmark_id)
    async with database.sessions.begin() as session:
        assert (await session.scalars(select(BenchmarkRow))).all() == []
        assert await store.begin(session, delivery.id, delivery.queue_entry_id) is None
