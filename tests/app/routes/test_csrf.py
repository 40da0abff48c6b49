"""A server that asks for no key answers no page of another site, however a browser was led there."""

import contextlib

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from tests.app.acts import CPU_JOB, post
from tests.app.routes.test_keys import make_key

pytestmark = pytest.mark.anyio

REBOUND = {"Host": "evil.example.com"}
ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example.com"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
    {"Origin": "https://evil.example.com"},
    {"Origin": "null"},
]
ALLOWED = {"allowed_hosts": "gpu-node, *.example.org", "cors_origins": "https://wiki.example.com"}


@contextlib.asynccontextmanager
async def bound_to(server, settings, **changes):
    """A client of an app whose end of every connection has the address `server`."""
    app = create_app(Settings.model_validate(settings.model_dump() | changes))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{server}:8000") as http:
            http.app = app
            yield http


@pytest.mark.parametrize(("method", "path"), [("GET", "/benchmarks"), ("POST", "/benchmarks"), ("GET", "/")])
async def test_a_page_that_rebound_its_name_to_this_address_is_refused(client, method, path):
    response = await client.request(method, path, headers=REBOUND, json=CPU_JOB if method == "POST" else None)
    assert response.status_code == 400
    problem = response.json()
    assert problem["type"] == "/problems/untrusted_host"
    assert "HALFTIME_ALLOWED_HOSTS" in problem["detail"]
    assert (await client.get("/benchmarks")).json()["items"] == []


async def test_a_browser_reads_the_refusal_as_a_page(client):
    response = await client.get("/ui/workers", headers=REBOUND | {"Accept": "text/html"})
    assert (response.status_code, response.headers["Content-Type"]) == (400, "text/html; charset=utf-8")
    assert "HALFTIME_ALLOWED_HOSTS" in response.text


@pytest.mark.parametrize("act", ["cancel", "rerun"])
@pytest.mark.parametrize("headers", ELSEWHERE)
async def test_a_page_of_another_site_changes_nothing(client, act, headers):
    benchmark = await post(client)
    response = await client.post(f"/benchmarks/{benchmark['id']}/{act}", headers=headers)
    assert (response.status_code, response.json()["type"]) == (403, "/problems/cross_site")
    assert "HALFTIME_CORS_ORIGINS" in response.json()["detail"]
    assert [one["status"] for one in (await client.get("/benchmarks")).json()["items"]] == ["queued"]


@pytest.mark.parametrize("headers", ELSEWHERE)
async def test_nor_does_it_with_a_key(client, headers):
    _, key = await make_key(client.app, "submit")
    assert (await client.post("/benchmarks", json=CPU_JOB, headers=key | headers)).status_code == 403
    assert (await client.get("/benchmarks", headers=key | headers)).status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/version", "/metrics"])
async def test_probes_answer_to_any_name(client, path):
    assert (await client.get(path, headers=REBOUND)).status_code == 200


async def test_with_keys_any_name_will_do(client):
    _, key = await make_key(client.app, "submit")
    assert (await client.post("/benchmarks", json=CPU_JOB, headers=key | REBOUND)).status_code == 202


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:18000", "[::1]:8000", "LOCALHOST", "172.17.0.2:8000"])
async def test_loopback_names_and_the_bound_address_are_its_own(settings, host):
    """As in a container: a port published on loopback, or asked for at the container's own address."""
    async with bound_to("172.17.0.2", settings, host="0.0.0.0", allow_anonymous=True) as client:  # noqa: S104
        assert (await client.post("/benchmarks", json=CPU_JOB, headers={"Host": host})).status_code == 202


@pytest.mark.parametrize(
    ("host", "status"),
    [("gpu-node:8000", 202), ("bench.example.org", 202), ("example.org", 400), ("evil.example.com", 400), ("", 400)],
)
async def test_a_reverse_proxy_keeps_its_name_where_that_is_allowed(settings, host, status):
    async with bound_to("127.0.0.1", settings, **ALLOWED) as client:
        assert (await client.post("/benchmarks", json=CPU_JOB, headers={"Host": host})).status_code == status


async def test_a_page_behind_a_proxy_that_rewrites_the_host_may_act(settings):
    """The browser itself says that the page is the server's."""
    async with bound_to("127.0.0.1", settings) as client:
        benchmark = await post(client)
        headers = {"Sec-Fetch-Site": "same-origin", "Origin": "https://bench.example.org"}
        assert (await client.post(f"/ui/benchmarks/{benchmark['id']}/cancel", headers=headers)).status_code == 303


@pytest.mark.parametrize("site", [{"Sec-Fetch-Site": "cross-site"}, {}])
async def test_an_origin_that_is_allowed_may_change_things(settings, site):
    async with bound_to("127.0.0.1", settings, **ALLOWED) as client:
        headers = site | {"Origin": "https://wiki.example.com"}
        assert (await client.post("/benchmarks", json=CPU_JOB, headers=headers)).status_code == 202


async def test_programs_reach_a_real_server_as_before(live):
    """They send the address as `Host`, and none of the headers of a browser."""
    benchmark = await post(live)
    assert (await live.post(f"/benchmarks/{benchmark['id']}/cancel")).status_code == 200
    assert (await live.get("/")).status_code == 200
    assert (await live.get("/benchmarks", headers=REBOUND)).status_code == 400


@pytest.mark.parametrize("written", ["*", "http://gpu-node", "gpu-node:8000", "a/b"])
def test_what_is_no_name_is_refused_at_the_start(written):
    with pytest.raises(ValueError, match="is not a host"):
        Settings(allowed_hosts=written)
