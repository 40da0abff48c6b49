"""Pages as a browser without scripts sees them, and the states they show."""

import uuid
from dataclasses import dataclass, field
from html.parser import HTMLParser

from sqlalchemy import text

from app.store import claims
from halftime.contract.report.failure import Failure, FailureCode
from tests.app.acts import CPU_JOB, EMULATED, claim, finish, post, register
from tests.app.reports.explained import explained
from tests.events import data_of

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}

#: Of a form on a page of this server, where a browser says so.
FROM_HERE = BROWSER | {"Sec-Fetch-Site": "same-origin"}

#: Elements without an end.
VOID = {"meta", "link", "input", "br", "hr", "img", "base"}


@dataclass
class Page(HTMLParser):
    """A parsed page: what it shows, and its elements with their attributes."""

    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self):
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def ids(self):
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def links(self):
        return [attributes["href"] for attributes in self.all("a")]


async def see(client, path, status=200, **headers):
    """The page at a path; its elements close in order, and no id is there twice."""
    response = await client.get(path, headers=BROWSER | headers)
    assert response.status_code == status, response.text[:500]
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    page = parsed(response.text)
    assert len(set(page.ids())) == len(page.ids())
    return page


def parsed(markup):
    page = Page()
    page.feed(markup)
    page.close()
    assert page.open == []
    return page


def page_of(benchmark):
    return f"/ui/benchmarks/{benchmark['id']}"


async def running(client, body=CPU_JOB, events=(), progress=None):
    """A benchmark that a worker holds, with what it wrote down so far."""
    benchmark = await post(client, body)
    held = await claim(client, benchmark)
    async with client.app.state.database.sessions.begin() as session:
        for kind, data in events:
            await claims.record(session, held, data_of(kind, data), "")
        if progress:
            await claims.renew(session, held, progress)
    return benchmark


async def failed(client, detail="What went wrong.", code=FailureCode.INTERNAL):
    benchmark = await post(client)
    held = await claim(client, benchmark)
    async with client.app.state.database.sessions.begin() as session:
        await claims.fail(session, held, Failure.of(code, detail))
    return benchmark


async def cancelled(client):
    benchmark = await post(client)
    await client.post(f"/benchmarks/{benchmark['id']}/cancel")
    return benchmark


async def succeeded(client, body=CPU_JOB, **changes):
    benchmark = await post(client, body)
    await finish(client, benchmark, **changes)
    return benchmark


async def purged(client):
    """The id of a benchmark that retention took."""
    gone = uuid.uuid4()
    async with client.app.state.database.sessions.begin() as session:
        await session.execute(text("INSERT INTO purged (id) VALUES (:id)").bindparams(id=gone))
    return gone


async def every_page(client):
    """A path of every page, each in a state that has much to show."""
    await register(client, precisions=EMULATED)
    sweep = (await client.post("/sweeps", json={"request": CPU_JOB, "vary": {"batch_sizes": [8, 16]}})).json()
    first, second = await succeeded(client), await succeeded(client, completed=explained)
    await finish(client, {"id": sweep["rows"][0]["benchmark_id"]}, completed=explained)
    return [
        "/",
        "/?status=running&label=team:ranking",
        *(
            page_of(one)
            for one in (first, second, await running(client), await failed(client), await cancelled(client))
        ),
        page_of(await post(client)),
        "/ui/compare",
        f"/ui/compare?ids={first['id']}&ids={second['id']}",
        "/ui/workers",
        f"/ui/sweeps/{sweep['id']}",
    ]
