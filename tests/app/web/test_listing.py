"""The list: benchmarks in every state, the form above it, the queue and the fleet."""

import uuid

import pytest
from sqlalchemy import event, text

from halftime.contract.resources.benchmark import Progress
from tests.app.acts import CPU_JOB, post, register
from tests.app.web.browsing import BROWSER, cancelled, failed, page_of, parsed, running, see, succeeded

pytestmark = pytest.mark.anyio

PROGRESS = Progress(
    phase="measure", block=2, max_blocks=4, leg="bf16", step=3, total_steps=5, fraction=0.4, eta_seconds=74.0
)


async def test_benchmarks_are_listed_newest_first_with_state_verdict_and_speedup(client):
    made = [
        await succeeded(client),
        await failed(client),
        await cancelled(client),
        await running(client, progress=PROGRESS),
        await post(client),
    ]
    page = await see(client, "/")
    assert [link for link in page.links() if "/ui/benchmarks/" in link] == [page_of(one) for one in reversed(made)]
    badges = [attributes["class"] for attributes in page.all("span") if "badge" in attributes.get("class", "")]
    assert badges == ["badge queued", "badge running", "badge cancelled", "badge failed", "badge pass"]
    assert "2.00× 2.00–2.00" in page.text
    assert [attributes["value"] for attributes in page.all("progress")] == ["0.4"]
    assert [attributes["value"] for attributes in page.all("input") if attributes["name"] == "ids"] == [made[0]["id"]]


async def test_a_benchmark_is_named_by_its_preset_and_one_from_before_names_by_its_kind(client):
    made = await post(client, {"model": {"kind": "transformers", "preset": "gpt2"}, "config": {"device": "cpu"}})
    assert f"gpt2 {made['id'][-6:]}" in (await see(client, "/")).text
    assert f"gpt2 {made['id'][-6:]}" in (await see(client, page_of(made))).text
    async with client.app.state.database.sessions.begin() as session:
        await session.execute(text("UPDATE benchmarks SET model_name = NULL"))
    assert f"transformers {made['id'][-6:]}" in (await see(client, "/")).text


async def test_without_benchmarks_it_says_where_to_begin(client):
    page = await see(client, "/")
    assert "No benchmark yet." in page.text
    assert "/ui/new" in page.links()


async def test_the_form_narrows_the_list_and_keeps_what_was_written(client):
    wanted = await post(client, CPU_JOB | {"labels": {"team": "ranking"}})
    await post(client, CPU_JOB | {"labels": {"team": "search"}})
    await post(client, {"model": {"kind": "convnet"}, "config": {"device": "cpu"}, "labels": {"team": "ranking"}})
    page = await see(client, "/?status=queued&label=team:ranking&label=&model_kind=mlp&device=cpu")
    assert [link for link in page.links() if "/ui/benchmarks/" in link] == [page_of(wanted)]
    fields = page.all("input")
    assert [one["value"] for one in fields if one["name"] == "status" and "checked" in one] == ["queued"]
    assert [one["value"] for one in fields if one["name"] == "label"] == ["team:ranking", ""]
    assert "No benchmark matches the filter." in (await see(client, "/?status=failed")).text


FAULTS = {
    "status=nonsense": "Choose one of the statuses.",
    "label=no colon": "Write a label as key:value.",
    "label=a:b%00": "Write a label as key:value.",
    "model_kind=<script>": "Choose one of the kinds of model.",
    "device=tpu": "Choose cuda, cpu or auto.",
    "cursor=nonsense": "is not valid",
    f"cursor={'A' * 10_000}": "is not valid",
}


async def test_what_the_form_cannot_mean_is_said_beside_it(client):
    for query, said in FAULTS.items():
        page = await see(client, f"/?{query}", 422)
        assert said in page.text, query
        assert "model_kind" in page.ids()


async def test_pages_follow_each_other_by_the_cursor(client, monkeypatch):
    monkeypatch.setattr("app.routes.pages.listing.PER_PAGE", 2)
    made = [page_of(await post(client)) for _ in range(3)]
    first = await see(client, "/?model_kind=mlp")
    (older,) = [link for link in first.links() if "cursor=" in link]
    assert "model_kind=mlp" in older
    second = await see(client, older)
    assert [link for link in second.links() if "/ui/benchmarks/" in link] == made[:1]
    assert "older" not in second.ids()
    assert [attributes["href"] for attributes in second.all("a") if attributes.get("id") == "newest"] == [
        "/?model_kind=mlp"
    ]


async def test_the_fleet_shows_what_each_worker_does(client):
    await register(client, worker_id="node-1:cpu")
    await register(client, "cuda", worker_id="node-2:cuda:0")
    await register(client, "cuda", worker_id="node-3:cuda:0")
    current = await post(client)
    async with client.app.state.database.sessions.begin() as session:
        busy = "UPDATE workers SET current_benchmark = :id WHERE id = 'node-2:cuda:0'"
        await session.execute(text(busy).bindparams(id=uuid.UUID(current["id"])))
        await session.execute(text("UPDATE workers SET draining = true WHERE id = 'node-1:cpu'"))
        await session.execute(text("UPDATE workers SET online = false WHERE id = 'node-3:cuda:0'"))
    page = await see(client, "/")
    assert "1 queued 0 running 2 of 3 workers online" in page.text
    assert "draining CPU node-1:cpu busy NVIDIA H200 node-2:cuda:0 runs" in page.text
    assert f"runs-{current['id']}" in page.ids()


async def test_an_empty_fleet_says_so(client):
    await post(client)
    assert "No worker is online: queued benchmarks wait." in (await see(client, "/")).text


async def test_the_fragment_is_the_changing_part_and_304_until_it_changes(client):
    await post(client)
    page = await see(client, "/?status=queued")
    (address,) = [one["data-fragment"] for one in page.all("div") if "data-fragment" in one]
    first = await client.get(address, headers=BROWSER)
    assert {"fleet", "benchmarks"} <= set(parsed(first.text).ids())
    assert "<html" not in first.text
    same = await client.get(address, headers=BROWSER | {"If-None-Match": first.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    await post(client)
    changed = await client.get(address, headers=BROWSER | {"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200


MANY = """
INSERT INTO benchmarks (id, version, status, request, labels, model_kind, device, priority, queue, attempt, warnings,
                        last_event, logs)
SELECT gen_random_uuid(), 1, 'queued', jsonb_build_object('padding', repeat('x', 2000)), '{}', 'mlp', 'cpu', 0, 'cpu',
       0, '{}', 0, ''
FROM generate_series(1, 10000)
"""


async def test_ten_thousand_benchmarks_cost_three_small_queries(client):
    database = client.app.state.database
    async with database.sessions.begin() as session:
        await session.execute(text(MANY))
    await client.get("/livez")
    statements = []

    def hear(connection, cursor, statement, *_):
        statements.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", hear)
    response = await client.get("/", headers=BROWSER)
    event.remove(database.engine.sync_engine, "before_cursor_execute", hear)
    of_others = ("api_keys", "webhook_deliveries")  # whether a key is asked for, and what delivers beside it
    reads = [statement for statement in statements if not any(table in statement for table in of_others)]
    assert len(reads) == 3
    assert not [statement for statement in reads if "request" in statement]
    assert "10000" in response.text
    assert len(response.content) < 100_000


HOSTILE = {"html": "<script>alert(1)</script>", "quote": '"><img src=x onerror=alert(1)>', "turn": "\u202eabc\u2066"}


async def test_hostile_labels_are_text(client):
    await post(client, CPU_JOB | {"labels": HOSTILE | {"long": "W" * 255}})
    page = await see(client, "/")
    for value in HOSTILE.values():
        assert value in page.text
    assert not page.all("img")
    assert all("src" in attributes for attributes in page.all("script"))
    shown = [attributes for attributes in page.all("span") if "label" in attributes.get("class", "").split()]
    assert len(shown) == 4
    assert all("given" in attributes["class"] for attributes in shown)
    assert "W" * 61 not in page.text
