"""Submitting, reading, listing, cancelling and deleting over HTTP, against a real database."""

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import text

from app.store.workers import LEASE
from tests.app.acts import CPU_JOB, claim, post, register

pytestmark = pytest.mark.anyio


async def test_post_answers_202_with_the_resource_and_where_to_poll(client):
    response = await client.post("/benchmarks", json={"model": {"kind": "transformer"}})
    body = response.json()
    assert response.status_code == 202
    assert response.headers["Location"] == body["links"]["self"] == f"/benchmarks/{body['id']}"
    assert response.headers["Retry-After"]
    assert response.headers["ETag"].startswith('W/"')
    assert body["status"] == "queued"
    assert body["request"]["config"]["training"]["steps"] == 60
    assert body["queue"]["position"] == 1
    assert body["queue"]["workers_online"] == 0
    assert uuid.UUID(body["id"]).version == 7


async def test_the_row_and_its_queue_entry_commit_together(client):
    benchmark = await post(client)
    async with client.app.state.database.sessions() as session:
        entry = (
            await session.execute(
                text(
                    "SELECT task_name, queue_name, args->>'benchmark_id' FROM procrastinate_jobs entry "
                    "JOIN benchmarks ON benchmarks.queue_entry_id = entry.id"
                )
            )
        ).one()
    assert tuple(entry) == ("run_benchmark", "cpu", benchmark["id"])


async def test_polling_with_the_etag_gives_304_until_something_changes(client):
    benchmark = await post(client)
    first = await client.get(f"/benchmarks/{benchmark['id']}")
    again = await client.get(f"/benchmarks/{benchmark['id']}", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["ETag"] == first.headers["ETag"]
    await claim(client, benchmark)
    changed = await client.get(f"/benchmarks/{benchmark['id']}", headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200
    assert changed.json()["status"] == "running"
    assert changed.json()["version"] > first.json()["version"]


async def test_the_etag_changes_when_a_worker_comes_online(client):
    benchmark = await post(client)
    first = await client.get(f"/benchmarks/{benchmark['id']}")
    await register(client)
    second = await client.get(f"/benchmarks/{benchmark['id']}", headers={"If-None-Match": first.headers["ETag"]})
    assert second.status_code == 200
    assert second.json()["queue"]["workers_online"] == 1


async def test_the_queue_position_counts_those_that_go_first(client):
    low = await post(client, CPU_JOB | {"priority": -1})
    first = await post(client)
    second = await post(client)
    positions = [
        (await client.get(f"/benchmarks/{job['id']}")).json()["queue"]["position"] for job in (first, second, low)
    ]
    assert positions == [1, 2, 3]


async def test_lists_are_newest_first_in_pages(client):
    made = [(await post(client))["id"] for _ in range(5)]
    first = (await client.get("/benchmarks", params={"limit": 3})).json()
    second = (await client.get("/benchmarks", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    listed = [item["id"] for item in first["items"] + second["items"]]
    assert listed == made[::-1]
    assert second["next_cursor"] is None
    assert "request" not in first["items"][0]


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"label": "team:ranking"}, ["labelled"]),
        ({"label": ["team:ranking", "run:2"]}, []),
        ({"label": ["team:search", "team:ranking"]}, []),
        ({"status": "queued"}, ["labelled", "plain"]),
        ({"status": ["running", "queued"]}, ["labelled", "plain"]),
        ({"status": "failed"}, []),
        ({"model_kind": "convnet"}, ["labelled"]),
        ({"device": "cpu"}, ["plain"]),
        ({"created_after": "2020-01-01T00:00:00Z"}, ["labelled", "plain"]),
        ({"created_before": "2020-01-01T00:00:00Z"}, []),
    ],
)
async def test_lists_are_narrowed_by_filters(client, params, found):
    names = {
        (await post(client))["id"]: "plain",
        (await post(client, {"model": {"kind": "convnet"}, "labels": {"team": "ranking"}}))["id"]: "labelled",
    }
    items = (await client.get("/benchmarks", params=params)).json()["items"]
    assert sorted(names[item["id"]] for item in items) == found


async def test_cancelling_a_queued_benchmark_is_immediate_and_repeatable(client):
    benchmark = await post(client)
    for _ in range(2):
        response = await client.post(f"/benchmarks/{benchmark['id']}/cancel")
        assert response.status_code == 200
        assert response.json()["status"] == "cancelled"
    assert await claim(client, benchmark) is None
    async with client.app.state.database.sessions() as session:
        entries = text("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'run_benchmark'")
        assert await session.scalar(entries) == 0


async def test_cancelling_a_running_benchmark_is_accepted_and_repeatable(client):
    benchmark = await post(client)
    await claim(client, benchmark)
    for _ in range(2):
        response = await client.post(f"/benchmarks/{benchmark['id']}/cancel")
        assert response.status_code == 202
        assert response.json()["status"] == "cancelling"


async def test_deleting_needs_a_finished_benchmark(client):
    benchmark = await post(client)
    refused = await client.delete(f"/benchmarks/{benchmark['id']}")
    assert refused.status_code == 409
    assert refused.json()["type"] == "/problems/still_running"
    await client.post(f"/benchmarks/{benchmark['id']}/cancel")
    assert (await client.post(f"/benchmarks/{benchmark['id']}/cancel")).status_code == 200
    assert (await client.delete(f"/benchmarks/{benchmark['id']}")).status_code == 204
    gone = await client.get(f"/benchmarks/{benchmark['id']}")
    assert (gone.status_code, gone.json()["type"]) == (404, "/problems/not_found")


async def test_cancelling_a_failed_benchmark_is_a_conflict(client):
    await register(client)
    failed = await post(client, {"model": {"kind": "mlp"}, "config": {"device": "cuda"}})
    response = await client.post(f"/benchmarks/{failed['id']}/cancel")
    assert response.status_code == 409
    assert response.json()["type"] == "/problems/already_finished"


async def test_a_cuda_job_fails_at_submit_where_only_cpu_workers_live(client):
    await register(client)
    benchmark = await post(client, {"model": {"kind": "mlp"}})
    assert benchmark["status"] == "failed"
    assert benchmark["failure"]["code"] == "cuda_unavailable"
    report = await client.get(f"/benchmarks/{benchmark['id']}/report")
    assert report.status_code == 409
    assert "cuda_unavailable" in report.json()["detail"]


async def test_a_cuda_job_waits_where_no_worker_lives(client):
    assert (await post(client, {"model": {"kind": "mlp"}}))["status"] == "queued"


async def test_an_auto_job_goes_to_cuda_where_there_is_one(client):
    body = {"model": {"kind": "mlp"}, "config": {"device": "auto"}}
    queues = []
    for kind in ("cpu", "cuda"):
        await register(client, kind, f"node:{kind}")
        benchmark = await post(client, body)
        events = (await client.get(f"/benchmarks/{benchmark['id']}/events")).json()["items"]
        queues.append(events[0]["data"]["queue"])
    assert queues == ["auto", "cuda"]


async def test_events_are_numbered_from_one_without_a_gap(client):
    benchmark = await post(client)
    await claim(client, benchmark)
    await client.post(f"/benchmarks/{benchmark['id']}/cancel")
    page = (await client.get(f"/benchmarks/{benchmark['id']}/events")).json()
    assert [(event["seq"], event["kind"]) for event in page["items"]] == [
        (1, "queued"),
        (2, "started"),
        (3, "cancelling"),
    ]
    rest = (await client.get(f"/benchmarks/{benchmark['id']}/events", params={"after": 2})).json()
    assert [event["seq"] for event in rest["items"]] == [3]
    assert rest["next_after"] == 3


async def test_a_report_that_is_not_ready_says_when_to_come_back(client):
    benchmark = await post(client)
    response = await client.get(f"/benchmarks/{benchmark['id']}/report")
    assert response.status_code == 409
    assert response.headers["Retry-After"]
    assert response.json()["type"] == "/problems/report_not_ready"


async def test_logs_of_a_new_benchmark_are_empty_text(client):
    benchmark = await post(client)
    response = await client.get(f"/benchmarks/{benchmark['id']}/logs")
    assert response.headers["Content-Type"].startswith("text/plain")
    assert response.text == ""


async def test_workers_are_listed_with_device_and_state(client):
    await register(client, "cuda", "node-1:cuda:0")
    (worker,) = (await client.get("/workers")).json()["items"]
    assert worker["id"] == "node-1:cuda:0"
    assert worker["state"] == "idle"
    assert worker["device"]["gpu"] == "NVIDIA H200"


GPU_JOB = {"model": {"kind": "mlp"}, "config": {"device": "cuda"}}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"gpu": "A10"}, "a GPU with `A10` in its name"),
        ({"min_gpu_memory_gib": 80}, "a GPU of 80 GiB or more"),
        ({"gpu": "H200", "min_gpu_memory_gib": 80}, "a GPU of 80 GiB or more with `H200` in its name"),
        ({"device": "cpu"}, "a CPU"),
    ],
)
async def test_a_benchmark_that_no_live_worker_could_take_says_what_it_waits_for(client, asked, told):
    await register(client, "cuda", "node:cuda:0")  # an H200 of 16 GiB
    benchmark = await post(client, GPU_JOB | {"config": GPU_JOB["config"] | asked})
    assert f"for {told}. The benchmark waits" in benchmark["queue"]["note"]


async def test_a_benchmark_that_waits_for_its_turn_or_has_left_the_queue_says_nothing_of_workers(client):
    waits_in_vain, waits = await post(client), await post(client, GPU_JOB)
    await register(client, "cuda", "node:cuda:0")
    assert (await client.get(f"/benchmarks/{waits['id']}")).json()["queue"]["note"] is None
    cancelled = await client.post(f"/benchmarks/{waits_in_vain['id']}/cancel")
    assert cancelled.json()["queue"]["note"] is None


async def test_the_catalogue_says_what_can_be_asked_for(client):
    catalogue = (await client.get("/models")).json()
    assert [kind["kind"] for kind in catalogue["models"]] == [
        "mlp",
        "convnet",
        "transformer",
        "dit",
        "dlrm",
        "transformers",
        "diffusers",
        "layers",
        "plugin",
    ]
    assert [kind["kind"] for kind in catalogue["data"]] == ["synthetic", "text", "arrays", "plugin"]
    for kind in catalogue["models"] + catalogue["data"]:
        assert kind["json_schema"]["additionalProperties"] is False
        request = (await post(client, kind["example"]))["request"]
        part, example = (
            (request["config"]["data"], kind["example"]["config"]["data"])
            if kind in catalogue["data"]
            else (request["model"], kind["example"]["model"])
        )
        assert part == kind["defaults"] | example


async def test_the_catalogue_is_sent_to_each_client_once(client):
    first = await client.get("/models")
    again = await client.get("/models", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert (await client.get("/models", headers={"If-None-Match": '"another"'})).content == first.content


async def test_probes_answer(client):
    assert (await client.get("/livez")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {"status": "ok"}
    assert set((await client.get("/version")).json()) == {"halftime", "python"}


async def test_a_request_that_a_later_release_wrote_is_read_without_what_is_new_in_it(client):
    benchmark = await post(client)
    async with client.app.state.database.sessions.begin() as session:
        await session.execute(
            text("""UPDATE benchmarks SET request = jsonb_set(request, '{config,training,new_setting}', '"x"')""")
        )
    assert (await client.get(f"/benchmarks/{benchmark['id']}")).json()["request"] == benchmark["request"]
    assert (await claim(client, benchmark)).request.model.kind == "mlp"
    assert (await client.post(f"/benchmarks/{benchmark['id']}/rerun")).status_code == 202


async def test_a_transaction_that_stands_still_lets_go_of_its_locks_before_a_lease_ends(client):
    setting = "SELECT CAST(setting AS int) FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"
    async with client.app.state.database.sessions() as session:
        milliseconds = await session.scalar(text(setting))
    assert timedelta(0) < timedelta(milliseconds=milliseconds) < LEASE
