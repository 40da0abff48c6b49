"""Trackers in requests, and their events on benchmarks: what is refused, and what a tracker's fate leaves behind."""

import textwrap
import uuid

import anyio
import pytest

from app.store import events
from halftime.contract.event_data import Inspected
from halftime.contract.request.request import BenchmarkRequest
from tests.app.acts import CPU_JOB, finish, post
from worker.agent.tracking.export import STOPPED, export_to_trackers

pytestmark = pytest.mark.anyio

TRACKING = {"wandb": {"project": "ours", "mode": "offline"}, "mlflow": {"experiment": "ours"}}


@pytest.mark.parametrize(
    ("tracking", "place"),
    [
        ({}, "/tracking"),
        ({"wandb": {}}, "/tracking/wandb/project"),
        ({"wandb": {"project": ""}}, "/tracking/wandb/project"),
        ({"wandb": {"project": "a/b"}}, "/tracking/wandb/project"),
        ({"wandb": {"project": "a\u0000b"}}, "/tracking/wandb/project"),
        ({"wandb": {"project": "p" * 129}}, "/tracking/wandb/project"),
        ({"wandb": {"project": "p", "mode": "disabled"}}, "/tracking/wandb/mode"),
        ({"wandb": {"project": "p", "api_key": "k"}}, "/tracking/wandb/api_key"),
        ({"mlflow": {"experiment": "  "}}, "/tracking/mlflow/experiment"),
        ({"mlflow": {"experiment": " x"}}, "/tracking/mlflow/experiment"),
        ({"mlflow": {"experiment": "x" * 256}}, "/tracking/mlflow/experiment"),
        ({"tensorboard": {}}, "/tracking/tensorboard"),
    ],
)
async def test_senseless_targets_are_refused_at_their_place(client, tracking, place):
    refused = await client.post("/benchmarks", json=CPU_JOB | {"tracking": tracking})
    assert refused.status_code == 422
    assert [fault["loc"] for fault in refused.json()["errors"]] == [place]


async def test_trackers_are_part_of_the_request(client):
    assert (await post(client, CPU_JOB | {"tracking": TRACKING}))["request"]["tracking"] == TRACKING
    assert (await post(client))["request"]["tracking"] is None


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    """A W&B that takes everything, and an MLflow that hangs, or what `replace` puts there."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def replace(name, code):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))

    replace(
        "wandb",
        """
        from unittest.mock import MagicMock

        Settings, Artifact = MagicMock(), MagicMock()

        def init(**asked):
            run = MagicMock(id="run-1", url=None)
            run.__enter__.return_value = run
            return run
        """,
    )
    replace("mlflow", "import time\ntime.sleep(3600)")
    return replace


async def succeeded(client):
    """A benchmark that has succeeded, its request and its report."""
    benchmark = await post(client, CPU_JOB | {"tracking": TRACKING})
    report = await finish(client, benchmark)
    return benchmark["id"], BenchmarkRequest.model_validate(benchmark["request"]), report


async def events_of(client, benchmark_id):
    found = (await client.get(f"/benchmarks/{benchmark_id}/events")).json()["items"]
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
    return found


async def test_what_came_of_each_tracker_follows_the_end_of_the_benchmark(client, libraries):
    libraries("mlflow", "import os\nos._exit(7)")
    benchmark_id, request, report = await succeeded(client)
    await export_to_trackers(client.app.state.database.sessions, request, report)
    kinds = await events_of(client, benchmark_id)
    assert [event["kind"] for event in kinds][:3] == ["queued", "started", "succeeded"]
    told = {event["data"]["tracker"]: (event["kind"], event["data"]) for event in kinds[3:]}
    assert told["wandb"] == ("tracking_logged", {"tracker": "wandb", "run_id": "run-1", "url": None})
    assert told["mlflow"][0] == "tracking_failed"
    assert "exit code 7" in told["mlflow"][1]["reason"]
    assert (await client.get(f"/benchmarks/{benchmark_id}")).json()["status"] == "succeeded"


async def test_a_stop_cuts_the_trackers_and_is_written_down(client, libraries, tmp_path):
    libraries("mlflow", f"import pathlib, time\npathlib.Path('{tmp_path}/up').touch()\ntime.sleep(3600)")
    benchmark_id, request, report = await succeeded(client)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(export_to_trackers, client.app.state.database.sessions, request, report)
        while not (tmp_path / "up").exists() or len(await events_of(client, benchmark_id)) < 4:
            await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
    last = (await events_of(client, benchmark_id))[-1]
    assert (last["kind"], last["data"]) == ("tracking_failed", {"tracker": "mlflow", "reason": STOPPED})


async def test_a_benchmark_deleted_meanwhile_stays_deleted(client, libraries):
    libraries("mlflow", "raise ImportError")
    benchmark_id, request, report = await succeeded(client)
    assert (await client.delete(f"/benchmarks/{benchmark_id}")).status_code == 204
    await export_to_trackers(client.app.state.database.sessions, request, report)
    assert (await client.get(f"/benchmarks/{benchmark_id}")).status_code == 404


async def test_a_process_that_cannot_be_started_is_an_event(client, monkeypatch):
    monkeypatch.setattr("worker.agent.tracking.process.COMMAND", ("/nowhere/python",))
    benchmark_id, request, report = await succeeded(client)
    await export_to_trackers(client.app.state.database.sessions, request, report)
    reasons = [event["data"].get("reason", "") for event in await events_of(client, benchmark_id)]
    assert ["could not be started" in reason for reason in reasons[-2:]] == [True, True]


async def test_without_trackers_nothing_is_handed_over(client):
    benchmark = await post(client)
    report = await finish(client, benchmark)
    request = BenchmarkRequest.model_validate(benchmark["request"])
    await export_to_trackers(client.app.state.database.sessions, request, report)
    assert [event["kind"] for event in await events_of(client, benchmark["id"])] == ["queued", "started", "succeeded"]


async def test_notes_written_at_once_leave_no_gap(client):
    benchmark_id, sessions = (await post(client))["id"], client.app.state.database.sessions

    async def note(number):
        async with sessions.begin() as session:
            assert await events.lock_and_append(session, uuid.UUID(benchmark_id), Inspected(parameter_count=number))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(note, number)
    noted = (await events_of(client, benchmark_id))[1:]
    assert {event["data"]["parameter_count"] for event in noted} == set(range(8))
