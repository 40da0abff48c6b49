"""Sweeps over HTTP, against a real database; the benchmarks' results are made up."""

import csv
import io
import json
import uuid

import pytest
from sqlalchemy import text

from app.reports.text.wording import MIB
from tests.app.acts import claim, finish
from tests.app.reports.explained import explained

pytestmark = pytest.mark.anyio

BASE = {"model": {"kind": "mlp"}, "config": {"device": "cpu", "candidates": ["bf16"]}}


async def post(client, vary, base=BASE):
    return await client.post("/sweeps", json={"request": base, "vary": vary})


async def test_every_combination_becomes_an_ordinary_benchmark(client):
    response = await post(client, {"models": [{"kind": "mlp"}, {"kind": "convnet"}], "batch_sizes": [8, 16, 32]})
    assert response.status_code == 202, response.text
    sweep = response.json()
    assert response.headers["Location"] == f"/sweeps/{sweep['id']}"
    assert sweep["counts"] == {"queued": 6}
    assert [(row["model"], row["batch_size"]) for row in sweep["rows"]] == [
        (model, size) for model in ("mlp", "convnet") for size in (8, 16, 32)
    ]
    one = (await client.get(f"/benchmarks/{sweep['rows'][4]['benchmark_id']}")).json()
    assert one["status"] == "queued"
    assert one["request"]["model"]["kind"] == "convnet"
    assert one["request"]["config"]["training"]["batch_size"] == 16


async def test_candidates_can_be_varied_too(client):
    response = await post(client, {"candidates": [["bf16"], ["bf16", "fp16"]]})
    ids = [row["benchmark_id"] for row in response.json()["rows"]]
    wanted = [(await client.get(f"/benchmarks/{one}")).json()["request"]["config"]["candidates"] for one in ids]
    assert wanted == [["bf16"], ["bf16", "fp16"]]


async def test_the_table_fills_as_benchmarks_end(client):
    sweep = (await post(client, {"batch_sizes": [8, 16]})).json()
    await finish(client, {"id": sweep["rows"][0]["benchmark_id"]})
    await client.post(f"/benchmarks/{sweep['rows'][1]['benchmark_id']}/cancel")
    found = (await client.get(f"/sweeps/{sweep['id']}")).json()
    assert found["counts"] == {"succeeded": 1, "cancelled": 1}
    assert found["finished"]
    first, second = found["rows"]
    assert first["speedup"]["value"] == pytest.approx(2)
    assert first["memory_reduction_percent"]["value"] == 50
    assert first["candidate_peak_memory_bytes"] == MIB
    assert (second["speedup"], second["status"]) == (None, "cancelled")

    table = (await client.get(f"/sweeps/{sweep['id']}", params={"format": "csv"})).text
    rows = list(csv.DictReader(io.StringIO(table)))
    assert float(rows[0]["speedup"]) == pytest.approx(2)
    assert rows[1]["speedup"] == ""
    shown = await client.get(f"/sweeps/{sweep['id']}", headers={"Accept": "text/markdown"})
    assert shown.headers["Content-Type"].startswith("text/markdown")
    assert "2.00 (2.00 to 2.00) ×" in shown.text
    assert "| cancelled |" in shown.text


@pytest.mark.parametrize(
    ("vary", "kind"),
    [
        ({}, "nothing_varied"),
        ({"batch_sizes": list(range(1, 52)), "models": [{"kind": "mlp"}, {"kind": "convnet"}]}, "sweep_too_large"),
        ({"batch_sizes": [8, 8]}, "sweep_repeats"),
        ({"batch_sizes": [8, 0]}, "combination_invalid"),
        ({"candidates": [["bf16", "bf16"]]}, "combination_invalid"),
        ({"batch_sizes": [True]}, "int_type"),
        ({"batch_sizes": []}, "too_short"),
        ({"sizes": [8]}, "extra_forbidden"),
    ],
)
async def test_a_bad_sweep_is_refused_and_stores_nothing(client, vary, kind):
    response = await post(client, vary)
    assert response.status_code == 422
    assert kind in {fault["type"] for fault in response.json()["errors"]}
    assert (await client.get("/benchmarks")).json()["items"] == []


async def test_a_combination_that_is_too_large_stores_nothing(client):
    huge = {"kind": "transformer", "hidden_size": 65_536, "num_layers": 512}
    response = await post(client, {"models": [{"kind": "mlp"}, huge]})
    assert response.status_code == 422
    assert (await client.get("/benchmarks")).json()["items"] == []


async def test_all_benchmarks_commit_together_or_not_at_all(client, monkeypatch):
    from app.store import benchmarks

    submit, calls = benchmarks.submit, []

    async def breaks(session, one, **known):
        calls.append(one)
        if len(calls) == 3:
            raise RuntimeError("in the middle")
        return await submit(session, one, **known)

    monkeypatch.setattr(benchmarks, "submit", breaks)
    assert (await post(client, {"batch_sizes": [1, 2, 3]})).status_code == 500
    async with client.app.state.database.sessions() as session:
        for table in ("benchmarks", "sweeps", "procrastinate_jobs WHERE task_name = 'run_benchmark'"):
            assert await session.scalar(text(f"SELECT count(*) FROM {table}")) == 0  # noqa: S608


async def test_a_sweep_says_where_the_time_goes_where_it_is_known(client):
    sweep = (await post(client, {"batch_sizes": [8, 16]})).json()
    first, second = ({"id": row["benchmark_id"]} for row in sweep["rows"])
    address = f"/sweeps/{sweep['id']}"
    await finish(client, first)
    assert "Most of a step" not in (await client.get(address, params={"format": "md"})).text
    await finish(client, second, completed=explained)
    rows = (await client.get(address)).json()["rows"]
    assert (rows[0]["baseline_largest_kinds"], rows[0]["candidate_largest_kinds"]) == ([], [])
    assert [one["kind"] for one in rows[1]["baseline_largest_kinds"]] == ["matrix_products", "elementwise", "attention"]
    table = (await client.get(address, params={"format": "md"})).text
    assert "| fp32: matrix products 46 %, elementwise 16 %, attention 11 %; bf16: " in table
    lines = list(csv.DictReader(io.StringIO((await client.get(address, params={"format": "csv"})).text)))
    assert lines[0]["candidate_largest_kinds"] == ""
    assert json.loads(lines[1]["baseline_largest_kinds"])["elementwise"] == pytest.approx(0.16)


@pytest.mark.parametrize("sweep_format", ["json", "csv", "md"])
async def test_polling_with_the_etag_gives_304_until_the_table_changes(client, sweep_format):
    sweep = (await post(client, {"batch_sizes": [8, 16]})).json()
    first, second = (row["benchmark_id"] for row in sweep["rows"])
    tag = None
    changes = [
        lambda: claim(client, {"id": first}),
        lambda: client.post(f"/benchmarks/{second}/cancel"),
        lambda: client.delete(f"/benchmarks/{second}"),
    ]
    for change in [lambda: client.get("/livez"), *changes]:
        await change()
        known = {"If-None-Match": tag} if tag else {}
        found = await client.get(f"/sweeps/{sweep['id']}", params={"format": sweep_format}, headers=known)
        assert found.status_code == 200
        tag = found.headers["ETag"]
        again = await client.get(
            f"/sweeps/{sweep['id']}", params={"format": sweep_format}, headers={"If-None-Match": tag}
        )
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)


async def test_every_format_of_a_sweep_has_an_etag_of_its_own(client):
    sweep = (await post(client, {"batch_sizes": [8, 16]})).json()
    answers = [await client.get(f"/sweeps/{sweep['id']}", params={"format": one}) for one in ("json", "csv", "md")]
    assert len({answer.headers["ETag"] for answer in answers}) == 3


async def test_deleting_a_benchmark_takes_its_row_from_the_sweep(client):
    sweep = (await post(client, {"batch_sizes": [1, 2]})).json()
    first = sweep["rows"][0]["benchmark_id"]
    await client.post(f"/benchmarks/{first}/cancel")
    assert (await client.delete(f"/benchmarks/{first}")).status_code == 204
    assert len((await client.get(f"/sweeps/{sweep['id']}")).json()["rows"]) == 1


async def test_an_unknown_sweep_and_an_unknown_format(client):
    assert (await client.get(f"/sweeps/{uuid.uuid4()}")).status_code == 404
    assert (await client.get("/sweeps/nothing")).status_code == 422
    sweep = (await post(client, {"batch_sizes": [1]})).json()
    refused = await client.get(f"/sweeps/{sweep['id']}", headers={"Accept": "image/png"})
    assert refused.status_code == 406
