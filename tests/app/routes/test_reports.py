"""A report over HTTP, in the format that a client asks for."""

import anyio
import psutil
import pytest

from app.rendering import cache as render_cache
from app.web.inlined import policy
from testing.processes import children, command
from tests.app.acts import finish, post

pytestmark = pytest.mark.anyio

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"


@pytest.fixture
async def path(client):
    benchmark = await post(client)
    await finish(client, benchmark)
    return f"/benchmarks/{benchmark['id']}/report"


@pytest.fixture
def rendered(monkeypatch):
    """The formats that were rendered."""
    made, render = [], render_cache.render

    def counting(stored, report_format):
        made.append(report_format)
        return render(stored, report_format)

    monkeypatch.setattr(render_cache, "render", counting)
    return made


async def test_a_browser_gets_a_page_that_a_process_apart_has_drawn(client, path):
    response = await client.get(path, headers={"Accept": BROWSER})
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<!doctype html>" in response.text
    assert response.text.count('role="img"') >= 4
    commands = [" ".join(command(child)) for child in children(psutil.Process())]
    assert any("anyio.to_process" in command for command in commands), commands


async def test_a_page_is_allowed_its_own_style_and_nothing_else(client, path):
    headers = (await client.get(f"{path}?format=html")).headers
    assert headers["Content-Security-Policy"] == f"{policy()}; frame-ancestors 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(("accept", "query"), [("text/csv", ""), ("*/*", "?format=csv")])
async def test_a_spreadsheet_gets_csv(client, path, accept, query):
    response = await client.get(f"{path}{query}", headers={"Accept": accept})
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.text.startswith("section,leg,block,name,value")


async def test_a_client_that_takes_anything_gets_json(client, path):
    assert (await client.get(path)).headers["Content-Type"] == "application/json"


async def test_many_who_ask_at_once_cost_one_rendering(client, path, rendered):
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(client.get, f"{path}?format=csv")
    await client.get(f"{path}?format=csv")
    assert rendered == ["csv"]


async def test_what_a_client_has_already_is_not_rendered_again(client, path, rendered):
    tag = (await client.get(f"{path}?format=md")).headers["ETag"]
    response = await client.get(f"{path}?format=md", headers={"If-None-Match": tag})
    assert (response.status_code, rendered) == (304, ["md"])


async def test_formats_are_kept_apart(client, path):
    tags = {(await client.get(f"{path}?format={kind}")).headers["ETag"] for kind in ("json", "md", "csv")}
    bodies = {(await client.get(f"{path}?format={kind}")).text[:9] for kind in ("json", "md", "csv")}
    assert (len(tags), len(bodies)) == (3, 3)


async def test_a_large_report_is_parsed_in_a_process_apart(client, path, monkeypatch):
    monkeypatch.setattr(render_cache, "LARGE_BYTES", 0)
    before = len(psutil.Process().children())
    assert (await client.get(f"{path}?format=csv")).text.startswith("section,")
    assert len(psutil.Process().children()) == before + 1


async def test_a_process_that_hangs_as_it_renders_is_replaced(client, path, monkeypatch):
    monkeypatch.setattr(render_cache, "LARGE_BYTES", 0)
    first = (await client.get(f"{path}?format=csv")).text
    (process,) = psutil.Process().children()[-1:]
    process.suspend()
    monkeypatch.setattr(render_cache, "TIMEOUT_SECONDS", 0.5)
    assert (await client.get(f"{path}?format=md")).status_code == 500
    monkeypatch.undo()
    monkeypatch.setattr(render_cache, "LARGE_BYTES", 0)
    again = await client.get(f"{path}?format=md")
    assert (again.status_code, first[:8]) == (200, "section,")
    assert not process.is_running()
