"""What holds for every page: its policy, nothing from elsewhere, and its faults as pages."""

import re

import pytest
import structlog
from sqlalchemy.exc import OperationalError

from app.main import create_app
from app.middleware.security_headers import PAGES
from app.settings import Settings
from halftime.contract.resources.problem import MEDIA_TYPE
from tests.app.web.browsing import BROWSER, FROM_HERE, every_page, parsed, see

pytestmark = pytest.mark.anyio

#: What a browser loads or follows by itself, or on a click.
ADDRESSES = ("href", "src", "action", "formaction", "data-fragment", "data-events", "poster", "srcset")


async def test_pages_are_whole_run_nothing_inline_and_name_no_other_host(client):
    for path in await every_page(client):
        page = await see(client, path)
        for tag, attributes in page.elements:
            assert not [name for name in attributes if name == "style" or name.startswith("on")], path
            assert tag not in {"style", "iframe", "object", "embed", "base"}, path
            assert tag != "script" or attributes["src"].startswith("/static/"), path
            for name in ADDRESSES:
                assert re.match(r"[/#?](?!/)", attributes.get(name, "/")), f"{path}: {attributes}"
        assert "http://" not in page.text
        assert "https://" not in page.text


async def test_pages_have_a_language_a_title_a_heading_and_names_for_what_is_operated(client):
    for path in await every_page(client):
        page = await see(client, path)
        assert page.all("html") == [{"lang": "en"}]
        assert len(page.all("h1")) == len(page.all("main")) == 1, path
        names = {one.get("for") for one in page.all("label")}
        for field in page.all("input") + page.all("select"):
            wrapped = field.get("type") == "checkbox"
            assert field.get("type") == "hidden" or field.get("id") in names or "aria-label" in field or wrapped, field
        for one in page.all("svg"):
            assert one.get("aria-hidden") == "true" or one["role"] == "img"


async def test_pages_bring_their_policy(client):
    for path in await every_page(client):
        headers = (await client.get(path, headers=BROWSER)).headers
        assert {name: headers[name] for name in PAGES} == PAGES
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "private, no-cache"
        assert headers["X-Content-Type-Options"] == "nosniff"


async def test_a_304_leaves_the_policy_of_the_page_that_the_browser_holds(client):
    """Its headers replace those that the browser holds."""
    for path in ("/", "/static/live.js"):
        first = await client.get(path, headers=BROWSER)
        again = await client.get(path, headers=BROWSER | {"If-None-Match": first.headers["ETag"]})
        assert again.status_code == 304
        assert {name: first.headers.get(name) for name in again.headers if name != "x-request-id"} == {
            name: value for name, value in again.headers.items() if name != "x-request-id"
        }


async def test_data_keeps_the_policy_of_data(client):
    for path in ("/benchmarks", "/static/live.js"):
        policy = (await client.get(path)).headers["Content-Security-Policy"]
        assert policy == "default-src 'none'; frame-ancestors 'none'"


STATIC = {"halftime.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}


async def test_static_files_are_kept_by_their_etag(client):
    for name, media_type in STATIC.items():
        first = await client.get(f"/static/{name}")
        assert first.headers["Content-Type"].startswith(media_type)
        assert first.headers["Cache-Control"] == "no-cache"
        again = await client.get(f"/static/{name}", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_nothing_but_the_static_files_is_served(client):
    for path in ("", "..%2ftemplates%2fpage.html", "%2e%2e/__init__.py", "../rendering.py", "//etc/passwd", "x%00"):
        assert (await client.get(f"/static/{path}")).status_code in {404, 405}, path


async def test_scripts_are_few_and_name_no_other_host(client):
    script = (await client.get("/static/live.js")).text
    assert len(script.splitlines()) < 200
    assert "http" not in script


def test_the_openapi_document_has_no_pages():
    paths = create_app(Settings(database_url="postgresql://unused")).openapi()["paths"]
    assert not [path for path in paths if path == "/" or path.startswith("/ui")]


async def test_an_unknown_page_is_a_page_for_browsers_and_a_problem_for_programs(client):
    page = await see(client, "/ui/nothing", 404)
    assert "Check the address" in page.text
    response = await client.get("/ui/nothing", headers={"Accept": "application/json"})
    assert (response.status_code, response.headers["Content-Type"]) == (404, MEDIA_TYPE)
    outside = await client.get("/nothing", headers=BROWSER)
    assert outside.headers["Content-Type"] == MEDIA_TYPE


async def test_a_method_that_a_page_does_not_know_says_which_it_does(client):
    response = await client.put("/ui/workers", headers=FROM_HERE)
    assert (response.status_code, response.headers["Allow"]) == (405, "GET")


async def test_while_the_database_is_away_the_page_says_to_come_again(client, monkeypatch):
    async def away(*_):
        raise OperationalError("SELECT 1", {}, Exception("the server closed the connection"))

    monkeypatch.setattr("app.store.workers.all_workers", away)
    response = await client.get("/ui/workers", headers=BROWSER)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert "Reload the page in a few seconds." in parsed(response.text).text


async def test_a_fault_of_ours_is_a_page_with_the_request_id(client, monkeypatch):
    async def fault(*_):
        raise RuntimeError("a fault with <b>markup</b>")

    monkeypatch.setattr("app.store.workers.all_workers", fault)
    with structlog.testing.capture_logs():  # a traceback for people takes seconds to draw
        response = await client.get("/ui/workers", headers=BROWSER)
    assert response.status_code == 500
    assert response.headers["X-Request-ID"] in parsed(response.text).text
    assert "a fault with" not in response.text


async def test_head_of_a_page_has_no_body(client):
    response = await client.head("/", headers=BROWSER)
    assert (response.status_code, response.content) == (200, b"")
