"""A small fleet of real worker processes whose trials are simulated, over real HTTP."""

import itertools

import pytest
from sqlalchemy import create_engine, text

from app.store.database.connection import libpq_url
from testing.api_process import served
from testing.fleet.devices import mixed_fleet, mixed_requests
from testing.fleet.fates import Fate, fate_of
from testing.fleet.fleet import simulated_fleet
from testing.fleet.ledger import ledger_of
from testing.fleet.record import install, order_of
from testing.waiting import wait_until

JOBS, BEFORE = 60, 40


@pytest.fixture(scope="module")
def worked_off(postgres, migrated_template):
    """A database connection after most jobs were queued before the fleet started, and the rest came while it worked."""
    from tests.conftest import new_database

    with new_database(postgres, migrated_template) as url:
        engine = create_engine(url)
        with engine.begin() as connection:
            install(connection)
        requests = list(itertools.islice(mixed_requests(seed=2), JOBS))
        with served(HALFTIME_DATABASE_URL=libpq_url(url)) as (_, http):
            for body in requests[:BEFORE]:
                http.post("/benchmarks", json=body).raise_for_status()
            *cuda, cpu = mixed_fleet(4)
            with simulated_fleet(url, cuda) as fleet:
                fleet.until_online(http)  # with only a CPU worker, jobs that need CUDA would fail at once
                fleet.start(cpu, "sim-cpu")
                for body in requests[BEFORE:]:
                    http.post("/benchmarks", json=body).raise_for_status()
                until_all_ended(engine)
        with engine.connect() as connection:
            yield connection
        engine.dispose()


def until_all_ended(engine):
    def none_left():
        with engine.connect() as connection:
            return connection.scalar(text("SELECT count(*) FROM benchmarks WHERE finished_at IS NULL")) == 0

    wait_until(none_left, f"the end of {JOBS} benchmarks", pause_seconds=0.1)


def test_every_job_runs_once_and_ends_as_its_seed_determines(worked_off):
    ledger = ledger_of(worked_off)
    assert ledger.faults == []
    assert (ledger.benchmarks, ledger.attempts) == (JOBS, JOBS)


def test_failures_are_typed(worked_off):
    fates = [fate_of(body["config"]["training"]["seed"]) for body in itertools.islice(mixed_requests(seed=2), JOBS)]
    expected = sorted(fate.failure for fate in fates if fate.failure)
    assert len(set(expected)) > 1, "the seed is to have failures of several kinds"
    assert sorted(ledger_of(worked_off).failures.elements()) == expected


def test_a_leg_out_of_memory_leaves_a_report_and_a_crash_leaves_logs(worked_off):
    seeds = {fate: [] for fate in Fate}
    for body in itertools.islice(mixed_requests(seed=2), JOBS):
        seed = body["config"]["training"]["seed"]
        seeds[fate_of(seed)].append(str(seed))
    query = text("SELECT summary->>'verdict' FROM benchmarks WHERE labels->>'seed' = ANY(:seeds)")
    assert set(worked_off.scalars(query, {"seeds": seeds[Fate.CANDIDATE_OUT_OF_MEMORY]})) == {"fail"}
    query = text("SELECT logs LIKE '%was killed by SIGSEGV%' FROM benchmarks WHERE labels->>'seed' = ANY(:seeds)")
    assert set(worked_off.scalars(query, {"seeds": seeds[Fate.KILLED_ONCE]})) == {True}


def test_no_worker_takes_a_job_while_one_of_higher_priority_waits_for_it(worked_off):
    order = order_of(worked_off)
    assert (order.fetches, order.unattributed) == (JOBS, 0)
    assert order.overtaken > JOBS, "priorities are to change the order"
    assert order.out_of_order == []
