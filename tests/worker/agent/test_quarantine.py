"""A real worker process whose device falls sick, by a fault that is planted under its check, and recovers."""

import contextlib
import signal

import anyio
import anyio.to_thread
import pytest

from app.settings import Settings
from app.store import workers
from tests.conftest import new_database
from tests.worker.agent.test_worker import LONG, SHORT, Running, worker_on

pytestmark = pytest.mark.anyio

HUNG = LONG | {"config": LONG["config"] | {"timeout_seconds": 1}}


class Patient:
    """A worker and the file that says what is wrong with its device."""

    def __init__(self, running, planted):
        self.running, self.planted = running, planted

    async def row(self):
        async with self.running.database.sessions() as session:
            (row,) = await workers.all_workers(session)
        return row

    async def quarantined(self):
        row = await self.row()
        return row.state == "quarantined" and await self.running.rests()

    async def healthy(self):
        return (await self.row()).quarantine is None and await self.running.listening()

    async def heal(self):
        self.planted.write_text("")
        await self.running.until(self.healthy)

    async def kill_the_trial_twice(self):
        killed = set()
        for _ in range(2):
            new = []
            with anyio.fail_after(60):
                while not (new := [trial for trial in self.running.trials() if trial.pid not in killed]):
                    await anyio.sleep(0.02)
            killed.add(new[0].pid)
            new[0].send_signal(signal.SIGKILL)


@contextlib.asynccontextmanager
async def worker_with(fault, folder, postgres, template, seen):
    planted = folder / "planted"
    planted.write_text(fault)
    with new_database(postgres, template) as url:
        address = url.set(drivername="postgresql").render_as_string(hide_password=False)
        environment = {"HALFTIME_DATABASE_URL": address, "PLANTED_FAULT": str(planted)}
        worker = worker_on(
            Settings(database_url=address), folder, "tests.worker.agent.sick_worker", seen, **environment
        )
        async with worker as running:
            yield Patient(running, planted)


@pytest.fixture(scope="module")
async def patient(postgres, migrated_template, tmp_path_factory):
    async def seen(running):
        return await running.ask("SELECT 1 FROM workers WHERE quarantine_reason IS NOT NULL")

    folder = tmp_path_factory.mktemp("sick")
    async with worker_with("wrong", folder, postgres, migrated_template, seen) as patient:
        yield patient


async def test_a_worker_told_to_stop_does_not_wait_for_the_measurement_of_its_device(
    tmp_path, postgres, migrated_template
):
    async def measures(running):
        return (tmp_path / "planted").read_text() == "measuring"

    async with worker_with("endless measurement", tmp_path, postgres, migrated_template, measures) as patient:
        process = patient.running.process
        process.send_signal(signal.SIGTERM)
        assert await anyio.to_thread.run_sync(process.wait) == 0
        assert not await patient.running.says("could not be measured")


async def test_a_worker_whose_ceilings_cannot_be_measured_works_without_them(tmp_path, postgres, migrated_template):
    ready = Running.listening
    async with worker_with("crash in the ceilings", tmp_path, postgres, migrated_template, ready) as patient:
        device = (await patient.row()).device
        assert device.precisions
        assert device.ceilings is None
        assert await patient.running.says("ceilings of the device could not be measured")
        await patient.running.until_status(await patient.running.submit(SHORT), "succeeded")


@pytest.fixture
async def well(patient):
    await patient.heal()
    return patient


async def test_a_worker_that_starts_with_a_sick_device_takes_nothing_until_it_is_well(patient):
    worker = patient.running
    benchmark_id = await worker.submit(SHORT)
    row = await patient.row()
    assert row.state == "quarantined"
    assert "had a wrong result" in row.quarantine.reason
    assert await worker.status(benchmark_id) == "queued"
    assert not await worker.listening()
    assert (row.device.precisions, row.device.ceilings) == (None, None)
    await patient.heal()
    await worker.until_status(benchmark_id, "succeeded")
    device = (await patient.row()).device
    assert device.precisions
    assert device.ceilings


@pytest.mark.parametrize(("fault", "reason"), [("wrong", "had a wrong result"), ("crash", "SIGABRT")])
async def test_a_benchmark_leaves_a_device_that_falls_sick_under_it(well, fault, reason):
    worker = well.running
    benchmark_id = await worker.submit(HUNG)
    await worker.until_in_a_trial()
    well.planted.write_text(fault)
    await worker.until(well.quarantined)
    assert reason in (await well.row()).quarantine.reason
    found = await worker.ask("SELECT status, attempt FROM benchmarks WHERE id = :id", id=benchmark_id)
    assert found == [("queued", 1)]
    ((told,),) = await worker.ask(
        "SELECT data FROM events WHERE kind = 'device_sick' AND benchmark_id = :id", id=benchmark_id
    )
    assert (told["worker"], told["attempt"]) == ("tested", 1)
    assert reason in told["fault"]
    await worker.cancel(benchmark_id)


async def test_a_benchmark_that_finds_every_device_sick_ends_after_its_attempts(well):
    worker = well.running
    benchmark_id = await worker.submit(HUNG)
    for attempt in (1, 2):
        await worker.until_in_a_trial()
        well.planted.write_text("wrong")
        await worker.until(well.quarantined)
        if attempt == 1:
            await well.heal()
    ((failure,),) = await worker.ask("SELECT failure FROM benchmarks WHERE id = :id", id=benchmark_id)
    assert failure["code"] == "device_sick"
    assert "attempt 2 of 2" in failure["detail"]


async def test_a_trial_that_dies_on_a_healthy_device_fails_for_itself(well):
    worker = well.running
    benchmark_id = await worker.submit(LONG)
    await well.kill_the_trial_twice()
    await worker.until_status(benchmark_id, "failed")
    ((failure,),) = await worker.ask("SELECT failure FROM benchmarks WHERE id = :id", id=benchmark_id)
    assert failure["code"] == "internal"
    assert (await well.row()).quarantine is None


async def test_a_crash_by_a_sick_device_passes_the_benchmark_on(well):
    worker = well.running
    benchmark_id = await worker.submit(LONG)
    await worker.until_in_a_trial()
    well.planted.write_text("wrong")
    await well.kill_the_trial_twice()
    await worker.until(well.quarantined)
    assert await worker.status(benchmark_id) == "queued"
    await worker.cancel(benchmark_id)
