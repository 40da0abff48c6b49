"""What the clients try again, and what they do not: answers from a table instead of a server."""

import itertools
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
import stamina

from halftime.client import (
    CannotConnect,
    ConnectionLost,
    ProblemError,
    UnexpectedAnswer,
    WaitTimeout,
    endpoints,
    operations,
)
from halftime.client.request import retry_after_seconds
from halftime.client.retrying import attempts
from halftime.contract.resources.catalogue import Version
from tests.app.acts import CPU_JOB
from tests.halftime.client.clients import KINDS

pytestmark = pytest.mark.anyio

VERSION = Version(halftime="1", python="3")
OK = httpx.Response(200, json=VERSION.model_dump())
BUSY = httpx.Response(503)
LOST = httpx.ReadError("cut")
AWAY = httpx.ConnectError("refused")


@pytest.fixture(autouse=True)
def no_backoff():
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@pytest.fixture(params=KINDS)
def against(request):
    """Makes a client of either kind that is answered from a list, and tells what it sent."""

    def against(*answers, **options):
        sent = []
        left = itertools.chain(answers, itertools.repeat(answers[-1]))

        def answer(http):
            sent.append(http)
            found = next(left)
            if isinstance(found, Exception):
                raise found
            return httpx.Response(found.status_code, headers=found.headers, content=found.content)

        return KINDS[request.param]("http://halftime", transport=httpx.MockTransport(answer), **options), sent

    return against


@pytest.mark.parametrize("passing", [BUSY, LOST, AWAY, *map(httpx.Response, (429, 502, 504))], ids=repr)
async def test_what_passes_is_tried_again(against, passing):
    client, sent = against(passing, passing, OK)
    assert await client.version() == VERSION
    assert len(sent) == 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [(BUSY, ProblemError), (LOST, ConnectionLost), (httpx.ReadTimeout(""), ConnectionLost), (AWAY, CannotConnect)],
    ids=repr,
)
async def test_what_stays_is_raised_after_the_last_try(against, answer, error):
    client, sent = against(answer, retries=2)
    with pytest.raises(error) as caught:
        await client.version()
    assert str(caught.value)
    assert len(sent) == 3


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500])
async def test_a_refusal_is_final(against, status):
    client, sent = against(httpx.Response(status))
    with pytest.raises(ProblemError) as caught:
        await client.version()
    assert caught.value.status == status
    assert len(sent) == 1


@pytest.mark.parametrize("name", ["submit", "submit_sweep"])
async def test_a_submit_is_repeated_with_its_own_key(against, name):
    client, sent = against(LOST, BUSY, httpx.Response(422))
    for _ in range(2):
        with pytest.raises(ProblemError):
            await getattr(client, name)(CPU_JOB)
    keys = [http.headers["Idempotency-Key"] for http in sent]
    assert len(keys) == 4
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]


@pytest.mark.parametrize("name", ["rerun", "delete"])
@pytest.mark.parametrize("answer", [LOST, BUSY, httpx.Response(502)], ids=repr)
async def test_what_may_have_been_done_is_not_done_again(against, name, answer):
    client, sent = against(answer)
    with pytest.raises((ConnectionLost, ProblemError)):
        await getattr(client, name)("x")
    assert len(sent) == 1


@pytest.mark.parametrize("answer", [AWAY, httpx.Response(429)], ids=repr)
async def test_what_cannot_have_been_done_is_tried_again(against, answer):
    client, sent = against(answer, httpx.Response(204))
    await client.delete("x")
    assert len(sent) == 2


async def test_the_pause_is_what_the_server_asks_for(against):
    pauses = []
    stamina.instrumentation.set_on_retry_hooks([lambda details: pauses.append(details.wait_for)])
    stamina.set_testing(False)
    try:
        client, _ = against(httpx.Response(503, headers={"Retry-After": "1"}), OK)
        await client.version()
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)
    assert 1 <= pauses[0] <= 1.25


async def test_a_server_that_asks_for_a_long_pause_is_left_alone(against):
    client, sent = against(httpx.Response(429, headers={"Retry-After": "3600"}))
    with pytest.raises(ProblemError) as caught:
        await client.version()
    assert caught.value.retry_after_seconds == 3600
    assert len(sent) == 1


async def test_a_stream_that_never_says_anything_is_given_up(against):
    client, sent = against(httpx.Response(200, headers={"Content-Type": "text/event-stream"}), retries=2)
    with pytest.raises(ConnectionLost):
        await client.events("x")
    assert len(sent) == 3


async def test_a_refused_stream_says_why(against):
    client, _ = against(httpx.Response(404, json={"type": "/problems/not_found", "title": "Not found"}))
    with pytest.raises(ProblemError, match="404"):
        await client.events("x")


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(200, text="<html>"), httpx.Response(200, json={}), httpx.Response(301, headers={"Location": "/"})],
    ids=["a page", "other JSON", "a redirect"],
)
async def test_an_answer_of_another_service_is_named(against, answer):
    client, _ = against(answer)
    with pytest.raises(UnexpectedAnswer, match="http://halftime/version"):
        await client.version()


async def test_a_key_goes_with_every_request(against, monkeypatch):
    monkeypatch.setenv("HALFTIME_API_KEY", "of the environment")
    for given, header in [("mine", "Bearer mine"), ("", None)]:
        client, sent = against(OK, api_key=given)
        await client.version()
        assert sent[0].headers.get("Authorization") == header


async def test_key_and_server_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("HALFTIME_API_KEY", "hidden\n")
    monkeypatch.setenv("HALFTIME_SERVER", "http://node-1:9000/halftime")
    transport = httpx.MockTransport(
        lambda http: httpx.Response(418, text=str(http.url) + http.headers["Authorization"])
    )
    client = KINDS["sync"](transport=transport)
    with pytest.raises(ProblemError, match="http://node-1:9000/halftime/versionBearer hidden"):
        await client.version()


def test_a_pause_is_read_in_either_form():
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    for text in ("3600", in_an_hour):
        found = retry_after_seconds(httpx.Response(503, headers={"Retry-After": text}))
        assert found == pytest.approx(3600, abs=60)


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "Mon, 23 Nov 2026 16:00:00", "٣"])
def test_a_pause_that_is_none_is_ignored(text):
    headers = {"Retry-After": text.encode()}
    assert retry_after_seconds(httpx.Response(503, headers=headers)) is None


def test_a_wait_leaves_a_server_that_does_not_hold_its_answers_alone(monkeypatch):
    now = 100.0
    monkeypatch.setattr(operations, "monotonic", lambda: now)
    benchmark = operations.Benchmark.model_construct(id="x", status="queued")
    operation = operations.wait("x", timeout_seconds=50)
    asked = next(operation)
    assert asked.params == {"wait": 30}
    now += 0.5
    assert operation.send(endpoints.PollResult(benchmark, 'W/"1"', 2.0)) == operations.Pause(1.5)
    now += 40
    again = operation.send(None)
    assert again.params == {"wait": 9.5}
    assert again.headers == {"If-None-Match": 'W/"1"'}
    now += 9
    assert operation.send(endpoints.PollResult(None, 'W/"1"', 2.0)) == operations.Pause(0)
    assert operation.send(None).params == {"wait": 0.5}
    assert operation.send(endpoints.PollResult(None, 'W/"1"', 2.0)) == operations.Pause(0.5)
    now += 0.5
    assert operation.send(None).params == {}
    with pytest.raises(WaitTimeout, match="x was queued after 50 s"):
        operation.send(endpoints.PollResult(None, 'W/"1"', 2.0))


def test_no_try_begins_after_the_deadline():
    tried = []
    with pytest.raises(CannotConnect):
        for attempt in attempts(endpoints.poll("x", None, 0, 0), 5):
            with attempt:
                tried.append(attempt.num)
                raise CannotConnect("refused")
    assert tried == [1]
