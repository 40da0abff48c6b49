"""The simulation behind docs/method.md: intervals hold the truth, verdicts are rarely wrong, and turns narrow them."""

import functools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.pairs import block_log_ratio
from testing import coverage
from testing.coverage import (
    intervals,
    pass_through,
    planned_blocks,
    ratios_of_trials,
    ratios_of_turns,
    simulate,
    slices_in_turns,
    slices_of_trials,
    work_of_slices,
)
from testing.slow_machines import BLOCK_TICKS, MAX_BLOCKS, MIN_BLOCKS, ROUNDS, SCENARIOS
from tests.factories import comparison, request, trial
from tests.trials_in_turns import spec, trial_in_turns
from worker.comparison import stopping_rule
from worker.comparison.comparison_run import log_ratios, paired
from worker.comparison.estimates import judge_at_least, ratio_estimate

ROOT = Path(__file__).parents[3]
COMMITTED = json.loads((ROOT / "benchmarks" / "results" / "coverage.cpu.json").read_text())

#: Where the noise lasts about as long as a trial, which moves successive whole trials alike.
AUTOCORRELATED = ["autocorrelated", "strongly_autocorrelated"]


@functools.cache
def jobs_at_one(scenario):
    """As many, and the same, as in the committed table: identical work."""
    return simulate(SCENARIOS[scenario], true_ratio=1.0, jobs=coverage.JOBS, seed=1)


@functools.cache
def jobs_at_the_threshold(scenario):
    """As many, and the same, as in the committed table: a speedup that is the threshold."""
    return simulate(SCENARIOS[scenario], true_ratio=1.5, jobs=coverage.JOBS, seed=2)


@pytest.mark.parametrize("pairing", coverage.PAIRINGS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_interval_of_identical_work_covers_one(scenario, pairing):
    covered = jobs_at_one(scenario)[pairing].covers().mean()
    assert covered >= (0.94 if scenario == "independent" else 0.935)
    assert covered <= 0.96 or scenario != "independent"


@pytest.mark.parametrize("pairing", coverage.PAIRINGS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_at_the_threshold_pass_and_fail_are_both_rare(scenario, pairing):
    jobs = jobs_at_the_threshold(scenario)[pairing]
    most = 0.032 if pairing == "trials" and scenario in AUTOCORRELATED else 0.027
    assert jobs.passes().mean() <= most
    assert jobs.fails().mean() <= most


@pytest.mark.parametrize("scenario", sorted(set(SCENARIOS) - {"independent", "drift", "slow_processes"}))
def test_turns_give_narrower_intervals_where_the_machine_changes(scenario):
    jobs = jobs_at_one(scenario)
    assert jobs["turns"].half_width.mean() < 0.75 * jobs["trials"].half_width.mean()


@pytest.mark.parametrize("scenario", ["independent", "drift", "slow_processes"])
def test_turns_give_no_wider_intervals_where_they_cannot_help(scenario):
    """In the same machine time: their survey is paid for."""
    jobs = jobs_at_one(scenario)
    assert jobs["turns"].half_width.mean() <= jobs["trials"].half_width.mean()


def drawn(name, jobs, true_ratio=1.1):
    """Machine and slices of a few jobs of a scenario."""
    scenario, chance = SCENARIOS[name], np.random.default_rng(5)
    return scenario, scenario.slowdown(chance, jobs), work_of_slices(scenario, true_ratio, jobs, chance)


def by_job_and_block(figure, jobs):
    """Figures of all blocks, by job and block."""
    return np.array([[figure(job, block) for block in range(MAX_BLOCKS)] for job in range(jobs)])


@pytest.mark.parametrize("scenario", ["outliers", "bursts", "bursts_seen"])
def test_blocks_in_turns_have_the_product_s_figures(scenario):
    settings, machine, work = drawn(scenario, jobs=4)
    times, slowdown = pass_through(machine, work, slices_in_turns(), BLOCK_TICKS)
    disturbed = (slowdown > 0).any(axis=0) & settings.is_seen

    def figure(job, block):
        rounds = {*np.flatnonzero(disturbed[block, :, job])}
        legs = [np.exp(of_leg[block, :, job]) for of_leg in times]
        return block_log_ratio(*(trial_in_turns([[9, seconds] for seconds in leg], rounds) for leg in legs))

    expected = by_job_and_block(figure, jobs=4)
    assert ratios_of_turns(times, slowdown, settings.is_seen) == pytest.approx(expected)
    assert disturbed.any() == settings.is_seen


def test_whole_trials_have_the_product_s_figures():
    _, machine, work = drawn("bursts", jobs=4)
    times, _ = pass_through(machine, work, slices_of_trials(), 0)

    def figure(job, block):
        legs = [np.exp(of_leg[block, :, job]).tolist() for of_leg in times]
        return block_log_ratio(*(trial(spec()).model_copy(update={"step_seconds": leg}) for leg in legs))

    assert ratios_of_trials(times) == pytest.approx(by_job_and_block(figure, jobs=4))


def test_jobs_end_and_are_judged_as_the_product_s():
    spreads = np.geomspace(0.001, 0.1, 40)[:, None]
    of_blocks = np.random.default_rng(6).normal(0, spreads, (40, MAX_BLOCKS))
    blocks = planned_blocks(of_blocks)
    mean, half_width = intervals(of_blocks, blocks)
    for job in range(len(of_blocks)):
        planned, estimate = planned_and_estimate(of_blocks[job])
        assert blocks[job] == planned
        assert math.exp(mean[job] - half_width[job]) == pytest.approx(estimate.ci_low)
        assert math.exp(mean[job] + half_width[job]) == pytest.approx(estimate.ci_high)
    assert {MIN_BLOCKS, MAX_BLOCKS} < set(blocks)


def planned_and_estimate(of_blocks):
    """What the product does with blocks of such log ratios."""
    measurement = request(measurement={}).config.measurement
    job = comparison(request(measurement={}, candidates=["bf16"]))
    for block, log_ratio in enumerate(of_blocks):
        job.baseline.trials.append(trial(spec(block=block), step_seconds=math.exp(log_ratio)))
        job.candidates[0].trials.append(trial(spec("bf16", block), step_seconds=1.0))
    planned = stopping_rule.planned_blocks(job, measurement)
    pairs = paired(job.baseline, job.candidates[0])
    return planned, ratio_estimate(log_ratios(pairs[:planned]), measurement.min_blocks)


def test_a_verdict_is_the_product_s():
    jobs = simulate(SCENARIOS["independent"], true_ratio=1.5, jobs=400, seed=7)["turns"]
    measured = [
        Estimate(value=1.5, ci_low=low, ci_high=high) for low, high in zip(jobs.ci_low, jobs.ci_high, strict=True)
    ]
    verdicts = [judge_at_least(estimate, 1.5) for estimate in measured]
    assert [verdict == "pass" for verdict in verdicts] == jobs.passes().tolist()
    assert [verdict == "fail" for verdict in verdicts] == jobs.fails().tolist()
    assert {"pass", "fail"} < set(verdicts)


def test_both_pairings_run_every_slice_once():
    slices = {(leg, block, one) for leg in (0, 1) for block in range(MAX_BLOCKS) for one in range(ROUNDS)}
    for order in (list(slices_in_turns()), list(slices_of_trials())):
        assert set(order) == slices
        assert len(order) == len(slices)


def test_a_slice_meets_the_machine_of_its_moment():
    """A slice that takes two ticks, then one that takes one, on a machine that is slower from the third tick on."""
    machine = np.array([[0.0], [0.0], [0.5], [0.5]])
    work = np.log([[[[2.0], [1.0]]]])
    times, slowdown = pass_through(machine, work, iter([(0, 0, 0), (0, 0, 1)]), 0)
    assert slowdown.ravel().tolist() == [0, 0.5]
    assert times.ravel() == pytest.approx([math.log(2), 0.5])


@pytest.mark.parametrize(("scenario", "expected"), [("autocorrelated", 0.3), ("strongly_autocorrelated", 0.5)])
def test_successive_whole_trials_correlate_as_the_scenario_says(scenario, expected):
    _, machine, work = drawn(scenario, jobs=1000, true_ratio=1.0)
    times, _ = pass_through(machine, work, slices_of_trials(), 0)
    medians = np.median(times, axis=2)
    in_order = np.array([medians[leg, block] for leg, block, one in slices_of_trials() if one == 0])
    found = (in_order[1:] * in_order[:-1]).mean() / (in_order**2).mean()
    assert found == pytest.approx(expected, abs=0.05)


def test_the_spread_of_whole_trials_is_the_one_in_the_docs():
    _, machine, work = drawn("independent", jobs=1000, true_ratio=1.0)
    times, _ = pass_through(machine, work, slices_of_trials(), 0)
    assert np.median(times, axis=2).std() == pytest.approx(0.02, abs=0.001)


def test_the_table_in_the_docs_is_the_committed_one():
    page = (ROOT / "docs" / "method.md").read_text()
    table = page.split("| the machine | pairing |")[1].split("\n\n")[0]
    cells = [re.findall(r"[\d.]+", row.split("|", 3)[3]) for row in table.splitlines()[2:]]
    assert [[float(cell) for cell in row] for row in cells] == [
        [
            round(100 * figures["coverage"], 1),
            round(100 * figures["false_pass_at_threshold"], 1),
            round(100 * figures["false_fail_at_threshold"], 1),
            round(figures["mean_blocks"], 1),
            round(of_scenario["half_width_percent"][pairing], 1),
        ]
        for of_scenario in COMMITTED["scenarios"].values()
        for pairing, figures in ((pairing, of_scenario[pairing]) for pairing in coverage.PAIRINGS)
    ]


def test_the_committed_table_is_of_these_scenarios():
    assert list(COMMITTED["scenarios"]) == list(SCENARIOS)
    assert COMMITTED["jobs"] == coverage.JOBS
