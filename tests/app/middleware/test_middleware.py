"""What every answer carries: its request id, its security headers; and what is logged of each request."""

import re
import uuid

import httpx
import pytest
import structlog
from fastapi import APIRouter
from fastapi.responses import HTMLResponse, StreamingResponse

from app.main import create_app
from app.middleware.security_headers import DEFAULTS
from app.settings import Settings

pytestmark = pytest.mark.anyio

UNKNOWN = "/benchmarks/00000000-0000-7000-8000-000000000000"
PAGE_POLICY = "default-src 'self'"

extra = APIRouter()


@extra.get("/boom")
async def boom() -> None:
    raise RuntimeError("a fault")


@extra.get("/page")
async def page() -> HTMLResponse:
    return HTMLResponse("<p>", headers={"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "max-age=60"})


@extra.get("/stream/{benchmark_id}")
async def stream(benchmark_id: str) -> StreamingResponse:
    async def forever():
        while True:
            yield b"x"

    return StreamingResponse(forever())


@pytest.fixture
async def client(client):
    client.app.include_router(extra)
    return client


@pytest.fixture
def lines():
    """Every log line as a dict, with what is bound to its context."""
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as captured:
        yield captured


#: An answer of each kind: fine, not routed, not allowed, refused by us and by the framework, too long, unexpected.
ANSWERS = {
    "success": ("GET", "/livez", {}, 200),
    "unknown path": ("GET", "/nothing", {}, 404),
    "wrong method": ("PUT", "/benchmarks", {}, 405),
    "our refusal": ("GET", UNKNOWN, {}, 404),
    "invalid": ("POST", "/benchmarks", {"json": {}}, 422),
    "not JSON": ("POST", "/benchmarks", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
    "too long": ("POST", "/benchmarks", {"content": b" " * 2_000_000}, 413),
    "unexpected": ("GET", "/boom", {}, 500),
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_every_answer_has_a_request_id_that_its_problem_and_its_log_line_repeat(client, lines, kind):
    method, path, content, status = ANSWERS[kind]
    response = await client.request(method, path, **content)
    assert response.status_code == status
    request_id = response.headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", request_id)
    if status >= 400:
        assert response.json()["request_id"] == request_id
    written = [line for line in lines if line["event"] == "request"]
    if method == "GET" and status < 400:
        assert written == []
    else:
        assert [(line["request_id"], line["status"]) for line in written] == [(request_id, status)]


@pytest.mark.parametrize("kind", ANSWERS)
async def test_every_answer_has_the_security_headers(client, kind):
    method, path, content, _ = ANSWERS[kind]
    response = await client.request(method, path, **content)
    assert {name: response.headers.get(name) for name in DEFAULTS} == DEFAULTS


async def test_a_page_may_have_a_policy_of_its_own(client):
    headers = (await client.get("/page")).headers
    assert headers["Content-Security-Policy"] == PAGE_POLICY
    assert headers["Cache-Control"] == "max-age=60"
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_a_sane_request_id_is_kept(client):
    response = await client.get("/livez", headers={"X-Request-ID": "trace:0af7/b.c_d-e"})
    assert response.headers["X-Request-ID"] == "trace:0af7/b.c_d-e"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "a\tb", "<script>", "naïve".encode(), '"'])
async def test_another_request_id_is_replaced(client, given):
    response = await client.get("/livez", headers={"X-Request-ID": given})
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["X-Request-ID"])


async def test_an_unexpected_error_is_logged_with_the_request_id_of_its_answer(client, lines):
    response = await client.get("/boom")
    (line,) = [line for line in lines if line["event"] == "unexpected error"]
    assert line["request_id"] == response.headers["X-Request-ID"]


async def test_a_request_leaves_nothing_in_the_log_context(client):
    await client.get("/livez")
    assert "request_id" not in structlog.contextvars.get_contextvars()


async def test_the_log_line_has_the_route_and_none_of_the_values(client, lines):
    secret = uuid.uuid4().hex
    await client.get(f"/benchmarks/{secret}?label={secret}:", headers={"Authorization": f"Bearer {secret}"})
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["method"], line["route"], line["status"]) == ("GET", "/benchmarks/{benchmark_id}", 404)
    assert line["log_level"] == "info"
    assert line["duration_seconds"] >= 0
    assert secret not in str(lines)


async def test_reads_that_succeed_are_counted_and_not_logged(client, lines):
    for path in ("/livez", "/readyz", "/benchmarks"):
        await client.get(path)
    assert lines == []
    counted = (await client.get("/metrics")).text
    assert 'halftime_http_request_duration_seconds_count{method="GET",route="/benchmarks",status="2xx"} 1.0' in counted


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/version", "/metrics", "/models", "/benchmarks", "/openapi.json"]
)
async def test_head_answers_as_get_without_the_body(client, path):
    got, head = await client.get(path), await client.head(path)
    assert head.status_code == got.status_code == 200
    assert head.content == b""
    assert head.headers["Content-Type"] == got.headers["Content-Type"]


async def test_head_is_refused_where_get_is(client, lines):
    assert (await client.head(UNKNOWN)).status_code == 404
    assert (await client.head(f"{UNKNOWN}/cancel")).status_code == 405
    assert [(line["method"], line["route"]) for line in lines] == [
        ("HEAD", "/benchmarks/{benchmark_id}"),
        ("HEAD", "/benchmarks/{benchmark_id}/cancel"),
    ]


async def test_head_of_a_stream_ends_it(client, lines):
    response = await client.head("/stream/1")
    assert response.status_code == 200
    assert response.content == b""
    assert lines == []


ORIGIN = "https://wiki.example.com"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "Content-Type,Idempotency-Key",
}


@pytest.fixture
async def open_client(settings):
    """A client of an app that two origins may call."""
    app = create_app(Settings(**settings.model_dump() | {"cors_origins": f"http://localhost:3000, {ORIGIN}"}))
    app.include_router(extra)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://halftime") as http:
            yield http


async def test_without_the_setting_no_origin_is_let_in(client):
    response = await client.get("/livez", headers={"Origin": ORIGIN})
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert (await client.options("/benchmarks", headers=PREFLIGHT)).status_code == 405


async def test_a_named_origin_may_call_and_read_what_it_needs(open_client):
    preflight = await open_client.options("/benchmarks", headers=PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
    for path in ("/livez", "/nothing", "/boom"):
        answer = await open_client.get(path, headers={"Origin": ORIGIN})
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        exposed = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
        assert exposed == {"RateLimit", "RateLimit-Policy"} | {
            *("ETag", "Location", "Preference-Applied", "Retry-After", "X-Request-ID")
        }
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_another_origin_is_not_let_in(open_client):
    answer = await open_client.get("/livez", headers={"Origin": "https://evil.example.com"})
    assert "Access-Control-Allow-Origin" not in answer.headers
    refused = await open_client.options("/benchmarks", headers=PREFLIGHT | {"Origin": "https://evil.example.com"})
    assert refused.status_code == 400


@pytest.mark.parametrize("origins", ["*", "https://*", "wiki.example.com", "https://a/b", "https://a,", "ftp://a"])
def test_an_origin_that_no_browser_sends_is_refused(origins):
    with pytest.raises(ValueError, match="without a path or"):
        Settings(cors_origins=origins)
