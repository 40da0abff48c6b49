"""A worker with a sick device, as the API, the metrics and the commands show it, and what it may claim."""

import json
import platform
import uuid

import anyio.to_thread
import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.cli.commands import doctor
from app.store import claims, workers
from halftime.contract.resources.worker import WorkerDevice
from tests.app.acts import CPU_JOB, claim, post

pytestmark = pytest.mark.anyio

HOST = platform.node()
SESSION = uuid.uuid4()
FAULT = "2 uncorrected ECC errors."


async def beat(database, fault=None, worker_id="node:cpu", kind="cpu"):
    device = WorkerDevice(name=kind, kind=kind, gpu="NVIDIA H200" if kind == "cuda" else None, memory_bytes=2**34)
    async with database.sessions.begin() as session:
        await workers.register(session, worker_id, SESSION, device)
        await workers.heartbeat(session, worker_id, SESSION, None, fault)


async def shown(client):
    (worker,) = (await client.get("/workers")).json()["items"]
    return worker


async def test_a_quarantined_worker_is_shown_with_reason_and_beginning_until_it_is_well(client):
    database = client.app.state.database
    await beat(database, FAULT)
    first = await shown(client)
    assert (first["state"], first["quarantine"]["reason"]) == ("quarantined", FAULT)
    await beat(database, "1 row waits to be remapped.")
    second = await shown(client)
    assert second["quarantine"]["reason"] == "1 row waits to be remapped."
    assert second["quarantine"]["since"] == first["quarantine"]["since"]
    await beat(database)
    assert (await shown(client))["state"] == "idle"
    assert (await shown(client))["quarantine"] is None


async def test_a_restart_alone_does_not_end_a_quarantine(client):
    database = client.app.state.database
    await beat(database, FAULT)
    device = WorkerDevice(name="cpu", kind="cpu", gpu=None, memory_bytes=2**34)
    async with database.sessions.begin() as session:
        await workers.retire(session, "node:cpu", SESSION)
    assert (await shown(client))["quarantine"]["reason"] == FAULT
    async with database.sessions.begin() as session:
        await workers.register(session, "node:cpu", uuid.uuid4(), device)
    assert (await shown(client))["state"] == "quarantined"


async def test_a_quarantined_worker_that_is_drained_is_shown_as_draining(client):
    await beat(client.app.state.database, FAULT)
    assert (await client.post("/workers/node:cpu/drain")).json()["state"] == "draining"
    assert (await client.post("/workers/node:cpu/undrain")).json()["state"] == "quarantined"


async def test_a_quarantined_worker_claims_nothing_and_leaves_the_benchmark_in_the_queue(client):
    database = client.app.state.database
    benchmark = await post(client)
    await beat(database, FAULT)
    assert await claim(client, benchmark) is None
    queued = (await client.get(f"/benchmarks/{benchmark['id']}")).json()
    assert (queued["status"], queued["attempt"]) == ("queued", 0)
    await beat(database)
    assert await claim(client, benchmark) is not None


async def test_a_benchmark_that_only_quarantined_workers_could_take_says_so(client):
    database = client.app.state.database
    await beat(database, "")
    path = f"/benchmarks/{(await post(client, CPU_JOB))['id']}"
    await beat(database, FAULT)
    await beat(database, FAULT, "other:cpu")
    await beat(database, FAULT, "other:cuda:0", "cuda")
    stuck = await client.get(path)
    assert stuck.json()["queue"]["workers_online"] == 0
    assert "Quarantined with a sick device: 2." in stuck.json()["queue"]["note"]
    await beat(database, FAULT, "third:cpu")
    again = await client.get(path, headers={"If-None-Match": stuck.headers["ETag"]})
    assert "Quarantined with a sick device: 3." in again.json()["queue"]["note"]


async def test_a_cuda_benchmark_waits_for_a_quarantined_gpu_rather_than_fail(client):
    database = client.app.state.database
    await beat(database)
    await beat(database, FAULT, "node:cuda:0", "cuda")
    assert (await post(client, {"model": {"kind": "mlp"}}))["status"] == "queued"


async def test_metrics_count_it(client):
    await beat(client.app.state.database, FAULT, "node:cuda:0", "cuda")
    assert 'halftime_workers{device="cuda",state="quarantined"} 1.0' in (await client.get("/metrics")).text


async def requeue_elsewhere(client, benchmark, max_attempts=2):
    held = await claim(client, benchmark)
    async with client.app.state.database.sessions.begin() as session:
        await claims.requeue_elsewhere(session, held, FAULT, max_attempts)
    return (await client.get(f"/benchmarks/{benchmark['id']}")).json()


async def test_a_benchmark_passed_on_is_queued_again_with_its_attempt_counted(client):
    benchmark = await post(client)
    passed = await requeue_elsewhere(client, benchmark)
    assert (passed["status"], passed["attempt"], passed["worker"]) == ("queued", 1, None)
    items = (await client.get(f"/benchmarks/{benchmark['id']}/events")).json()["items"]
    assert items[-1]["kind"] == "device_sick"
    assert items[-1]["data"] == {"worker": "node:cpu", "attempt": 1, "fault": FAULT}


async def test_a_benchmark_passed_on_in_its_last_attempt_ends_as_device_sick(client):
    ended = await requeue_elsewhere(client, await post(client), max_attempts=1)
    assert (ended["status"], ended["failure"]["code"], ended["failure"]["retryable"]) == ("failed", "device_sick", True)
    assert FAULT in ended["failure"]["detail"]


async def test_a_benchmark_that_was_cancelled_meanwhile_is_not_passed_on(client):
    benchmark = await post(client)
    held = await claim(client, benchmark)
    await client.post(f"/benchmarks/{benchmark['id']}/cancel")
    async with client.app.state.database.sessions.begin() as session:
        await claims.requeue_elsewhere(session, held, FAULT, 2)
    assert (await client.get(f"/benchmarks/{benchmark['id']}")).json()["status"] == "cancelled"


@pytest.fixture
def cpu_only(monkeypatch, settings):
    monkeypatch.setattr(doctor, "device_findings", list)
    monkeypatch.setenv("HALFTIME_DATABASE_URL", settings.database_url)


@pytest.mark.parametrize(("worker_id", "exit_code"), [(f"{HOST}:cuda:0", 1), ("elsewhere:cuda:0", 0)])
async def test_doctor_tells_of_it_and_finds_fault_with_this_machine_s_alone(database, cpu_only, worker_id, exit_code):
    await beat(database, FAULT, worker_id, "cuda")
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    findings = {finding["part"]: finding for finding in json.loads(result.stdout)}
    assert FAULT in findings[f"worker {worker_id}"]["state"]
    assert "when it restarts" in findings[f"worker {worker_id}"]["remedy"]
    assert result.exit_code == exit_code


def test_doctor_reads_a_database_that_nothing_has_migrated(empty_database_url, monkeypatch):
    monkeypatch.setattr(doctor, "device_findings", list)
    monkeypatch.setenv("HALFTIME_DATABASE_URL", empty_database_url.render_as_string(hide_password=False))
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    assert result.exit_code == 0
    assert f"/{empty_database_url.database}" in json.loads(result.stdout)[0]["state"]


async def test_the_list_of_workers_gives_the_reason(live):
    await beat(live.app.state.database, FAULT, "node:cuda:0", "cuda")
    result = await anyio.to_thread.run_sync(CliRunner().invoke, cli, ["workers", "--server", str(live.base_url)])
    assert "quarantined" in result.stdout
    assert FAULT in result.stdout
