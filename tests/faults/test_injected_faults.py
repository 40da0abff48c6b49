"""Processes killed, frozen and cut off while benchmarks run: no benchmark is lost or ends twice, no process is left."""

import concurrent.futures

import pytest

from testing.api_process import temporary_folder
from testing.fault_injection import faults
from testing.fault_injection.campaign import Plan, run_campaign
from testing.fault_injection.sites import embedded_site, external_site

SHORT = Plan(seed=20261123, jobs=6, pause_seconds=(0.5, 1.5), endless=False)
CAMPAIGNS = {"embedded": (embedded_site, faults.EMBEDDED), "external": (external_site, faults.EXTERNAL)}


def campaign(site, kinds):
    with temporary_folder() as folder, site(folder, 2) as running:
        return run_campaign(running, kinds, SHORT)


@pytest.fixture(scope="module")
def outcomes():
    """Both campaigns in parallel, because most of their time is spent waiting for leases."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        yield {name: pool.submit(campaign, *chosen) for name, chosen in CAMPAIGNS.items()}


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_every_benchmark_ends_once_whatever_is_killed_frozen_or_cut(name, outcomes):
    outcome = outcomes[name].result()
    print(outcome.table())
    assert outcome.violations == []
    assert set(outcome.faults) == {kind.__name__ for kind in CAMPAIGNS[name][1]}
    assert sum(outcome.statuses.values()) >= SHORT.jobs
