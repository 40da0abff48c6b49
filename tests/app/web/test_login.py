"""The key that a browser keeps: how it gets in, what it may, and what a page elsewhere cannot make it do."""

import uuid
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

import pytest

from app.routes import pages
from app.routes.http.auth import COOKIE
from tests.app.acts import post, register
from tests.app.routes.test_keys import NO_KEYS_OF_OURS, make_key, revoke
from tests.app.web.browsing import BROWSER, FROM_HERE, page_of, parsed, see

pytestmark = pytest.mark.anyio

PROOF = {"Sec-Fetch-Site": "same-origin"}


async def cookie(client, *scopes):
    """What a browser that logged in sends."""
    _, headers = await make_key(client.app, *scopes)
    return {"Cookie": f"{COOKIE}={headers['Authorization'].removeprefix('Bearer ')}"}


def key_of(headers):
    return headers["Cookie"].removeprefix(f"{COOKIE}=")


async def log_in(client, key, where="/", **headers):
    return await client.post("/ui/login", data={"key": key, "next": where}, headers=FROM_HERE | headers)


def every_route():
    """Method and path of every page but the login, with made-up ids."""
    for route in (route for router in pages.routers for route in router.routes):
        if route.path not in {"/ui/login", "/ui/logout"}:
            path = "/".join(str(uuid.uuid4()) if step.startswith("{") else step for step in route.path.split("/"))
            yield from ((method, path) for method in route.methods)


async def test_no_page_opens_without_a_key(client):
    await make_key(client.app, "read")
    assert len(list(every_route())) >= 9
    for method, path in every_route():
        response = await client.request(method, path, headers=FROM_HERE)
        assert response.status_code == 303, f"{method} {path}"
        target = urlsplit(response.headers["Location"])
        assert target.path == "/ui/login"
        assert parse_qs(target.query)["next"] == [path if method == "GET" else "/"]


async def test_every_change_needs_its_scope(client):
    held = {scope: await cookie(client, scope) for scope in ("read", "submit", "admin")}
    for method, path in every_route():
        needed = "read" if method == "GET" and path != "/ui/new" else "admin" if "workers" in path else "submit"
        for number, (scope, headers) in enumerate(held.items()):
            status = (await client.request(method, path, headers=FROM_HERE | headers)).status_code
            assert (status == 403) == (number < list(held).index(needed)), f"{scope}: {method} {path}"
            assert status != 303 or method == "POST"


async def test_logging_in_keeps_the_key_from_scripts_and_other_sites_and_goes_on(client):
    key = key_of(await cookie(client, "read"))
    response = await log_in(client, f" {key}\n", "/ui/workers?x=1")
    assert (response.status_code, response.headers["Location"]) == (303, "/ui/workers?x=1")
    kept = SimpleCookie(response.headers["Set-Cookie"])[COOKIE]
    assert kept.value == key
    assert (kept["httponly"], kept["samesite"], kept["path"], kept["secure"]) == (True, "strict", "/", "")
    assert not kept["domain"]


async def test_over_tls_the_key_goes_over_tls_only(client):
    key = key_of(await cookie(client, "read"))
    response = await log_in(client, key, Origin="https://halftime")
    assert SimpleCookie(response.headers["Set-Cookie"])[COOKIE]["secure"] is True


async def test_the_cookie_opens_pages_their_events_and_the_api(client):
    headers = await cookie(client, "submit")
    benchmark = (await client.post("/benchmarks", json={"model": {"kind": "mlp"}}, headers=headers | PROOF)).json()
    for path in ("/", page_of(benchmark), f"/benchmarks/{benchmark['id']}/events", "/benchmarks"):
        assert (await client.get(path, headers=headers)).status_code == 200, path


async def test_what_is_no_key_of_ours_shows_the_form_again(client):
    await make_key(client.app, "read")
    for header in NO_KEYS_OF_OURS:
        key = header.split(b" ", 1)[-1].decode("latin-1")
        response = await log_in(client, key, "/ui/workers")
        assert response.status_code == 401
        assert "Set-Cookie" not in response.headers
        page = parsed(response.text)
        assert "fault" in page.ids()
        assert {"type": "hidden", "name": "next", "value": "/ui/workers"} in page.all("input")
        assert not key or len(key) < 8 or key not in response.text


async def test_a_cookie_with_junk_leads_to_the_login(client):
    await make_key(client.app, "read")
    for junk in (b"x", b"ht_" + b"A" * 43, b"ht_" + b"A" * 10_000, b"\xff\xfe", b'"', b"a=b; halftime_key=; x"):
        response = await client.get("/", headers=BROWSER | {"Cookie": b"halftime_key=" + junk})
        assert (response.status_code, response.headers["Location"]) == (303, "/ui/login?next=%2F"), junk
        assert (await client.get("/ui/login", headers={"Cookie": b"halftime_key=" + junk})).status_code == 200


async def test_a_revoked_key_leads_to_the_login(client):
    await make_key(client.app, "read")
    key_id, headers = await make_key(client.app, "admin")
    kept = {"Cookie": f"{COOKIE}={headers['Authorization'].removeprefix('Bearer ')}"}
    await see(client, "/", **kept)
    await revoke(client.app.state.database, key_id)
    assert (await client.get("/", headers=BROWSER | kept)).status_code == 303


async def test_programs_still_get_problems_and_never_the_login(client):
    await make_key(client.app, "read")
    assert (await client.get("/benchmarks", headers=BROWSER)).status_code == 401
    assert (await client.get("/")).status_code == 401


ELSEWHERE = [
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/ui//\\evil",
    "javascript:alert(1)",
    "ui/workers",
    "/benchmarks",
    "/ui/\r\nSet-Cookie: x=y",
    "http:/ui/workers",
    "/@evil.example",
    " /ui/workers",
    "",
]


async def test_the_login_leads_to_pages_of_this_server_only(client):
    key = key_of(await cookie(client, "read"))
    for where in ELSEWHERE:
        response = await log_in(client, key, where)
        assert (response.status_code, response.headers["Location"]) == (303, "/"), where
        client.cookies.clear()
        shown = await client.get("/ui/login", params={"next": where}, headers=BROWSER)
        assert {"type": "hidden", "name": "next", "value": "/"} in parsed(shown.text).all("input"), where


async def test_a_link_shared_on_another_site_opens_for_who_is_logged_in(client):
    """A browser keeps the cookie back from a request of another site, and from where that is redirected to."""
    headers = await cookie(client, "read")
    shared = "/?status=failed&label=a:b"
    first = await see(client, shared, **{"Sec-Fetch-Site": "cross-site"})
    (refresh,) = [one["content"] for one in first.all("meta") if one.get("http-equiv") == "refresh"]
    target = refresh.removeprefix("0; url=")
    assert target in first.links()
    onward = await client.get(target, headers=FROM_HERE | headers)
    assert (onward.status_code, onward.headers["Location"]) == (303, shared)
    form = await see(client, target)
    assert {"type": "hidden", "name": "next", "value": shared} in form.all("input")


async def test_where_no_key_is_asked_for_the_login_lets_through(client):
    response = await client.get("/ui/login?next=/ui/workers", headers=BROWSER)
    assert (response.status_code, response.headers["Location"]) == (303, "/ui/workers")
    assert "logout" not in (await see(client, "/")).ids()


async def test_logging_out_makes_the_browser_forget_the_key(client):
    headers = await cookie(client, "read")
    assert "logout" in (await see(client, "/", **headers)).ids()
    response = await client.post("/ui/logout", headers=FROM_HERE | headers)
    assert (response.status_code, response.headers["Location"]) == (303, "/ui/login")
    assert SimpleCookie(response.headers["Set-Cookie"])[COOKIE]["max-age"] == "0"


async def test_a_reader_sees_no_button_and_is_refused(client):
    reader, submitter = await cookie(client, "read"), await cookie(client, "submit")
    await register(client)
    benchmark = (await client.post("/benchmarks", json={"model": {"kind": "mlp"}, "config": {"device": "cpu"}},
                                   headers=submitter | PROOF)).json()  # fmt: skip
    assert "cancel" not in (await see(client, page_of(benchmark), **reader)).ids()
    assert "cancel" in (await see(client, page_of(benchmark), **submitter)).ids()
    assert not [one for one in (await see(client, "/ui/workers", **submitter)).ids() if "drain" in one]
    refused = await client.post(f"{page_of(benchmark)}/cancel", headers=FROM_HERE | reader)
    assert refused.status_code == 403
    assert "the required scope submit" in parsed(refused.text).text


#: What a browser says of a request that a page elsewhere made it send, or an old one that says nothing.
FORGED = [
    {},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://halftime"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://halftime.evil.example"},
    {"Origin": "http://halftime:8000"},
    {"Origin": "null"},
    {"Origin": "http://[x"},
]


async def test_a_page_elsewhere_changes_nothing_by_the_cookie(client):
    headers = await cookie(client, "admin")
    await register(client)
    benchmark = (await client.post("/benchmarks", json={"model": {"kind": "mlp"}, "config": {"device": "cpu"}},
                                   headers=headers | PROOF)).json()  # fmt: skip
    own = f"/benchmarks/{benchmark['id']}"
    changes = [
        *(("POST", path) for path in (f"{own}/cancel", f"/ui{own}/cancel", f"/ui{own}/rerun", f"{own}/rerun")),
        *(("POST", path) for path in ("/workers/node:cpu/drain", "/ui/workers/node:cpu/drain", "/ui/logout")),
        ("DELETE", own),
    ]
    for forged in FORGED:
        for method, path in changes:
            response = await client.request(method, path, headers=headers | forged)
            assert response.status_code == 403, f"{method} {path} {forged}"
        assert (await log_in(client, key_of(headers), **{"Sec-Fetch-Site": "", **forged})).status_code == 403
    assert (await client.get(own, headers=headers)).json()["status"] == "queued"
    assert len((await client.get("/benchmarks", headers=headers)).json()["items"]) == 1
    assert (await client.get("/workers", headers=headers)).json()["items"][0]["state"] == "idle"


async def test_without_keys_too_a_page_elsewhere_changes_nothing_by_a_form(client):
    benchmark = await post(client)
    for forged in FORGED:
        assert (await client.post(f"{page_of(benchmark)}/cancel", headers=forged)).status_code == 403, forged
    assert (await client.get(f"/benchmarks/{benchmark['id']}")).json()["status"] == "queued"


async def test_an_origin_that_is_the_host_is_proof_where_the_browser_says_no_more(client):
    headers = await cookie(client, "submit")
    job = {"model": {"kind": "mlp"}, "config": {"device": "cpu"}}
    benchmark = (await client.post("/benchmarks", json=job, headers=headers | PROOF)).json()
    response = await client.post(f"{page_of(benchmark)}/cancel", headers=headers | {"Origin": "http://halftime"})
    assert response.status_code == 303


async def test_a_key_in_the_header_needs_no_proof_and_goes_before_the_cookie(client):
    _, headers = await make_key(client.app, "submit")
    job = {"model": {"kind": "mlp"}, "config": {"device": "cpu"}}
    response = await client.post("/benchmarks", json=job, headers=headers | {"Cookie": f"{COOKIE}=junk"})
    assert response.status_code == 202
