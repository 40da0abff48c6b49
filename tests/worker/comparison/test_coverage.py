"""The simulation behind docs/method.md, in short: the intervals hold the truth, and verdicts are rarely wrong."""

import pytest

from testing.coverage import SCENARIOS, simulate

#: As many, and the same, as in the committed table.
JOBS = 20_000


@pytest.mark.parametrize("scenario", ["independent", "drift", "outliers", "autocorrelated"])
def test_the_interval_of_identical_work_covers_one(scenario):
    outcomes = list(simulate(SCENARIOS[scenario], true_ratio=1.0, threshold=1.0, jobs=JOBS, seed=1))
    coverage = sum(outcome.covers for outcome in outcomes) / JOBS
    assert coverage >= (0.94 if scenario == "independent" else 0.93)


@pytest.mark.parametrize("scenario", ["independent", "drift", "outliers", "autocorrelated"])
def test_at_the_threshold_pass_and_fail_are_both_rare(scenario):
    outcomes = list(simulate(SCENARIOS[scenario], true_ratio=1.5, threshold=1.5, jobs=JOBS, seed=2))
    for wrong in ("pass", "fail"):
        assert sum(outcome.status == wrong for outcome in outcomes) / JOBS <= 0.027
