"""Estimates, intervals and verdicts: against closed forms, by properties, and by simulation."""

import math
import random
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.report import Difference
from tests.factories import trial
from tests.trials_in_turns import spec, trial_in_turns
from worker.comparison.comparison_run import log_ratios
from worker.comparison.estimates import (
    blocks_needed,
    difference_estimate,
    gain_estimate,
    judge_at_least,
    judge_within,
    mean_interval,
    noise_floor,
    noise_floor_in_turns,
    ratio_estimate,
    reduction_percent,
    t_quantile,
)

log_ratio = st.floats(min_value=-3, max_value=3)


@pytest.mark.parametrize("degrees", [*range(1, 65), 999, 1000])
def test_the_t_quantile_is_scipy_s(degrees):
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-12)


def test_the_interval_of_a_whole_sample_is_the_ordinary_t_interval():
    values = [1.0, 1.2, 0.9, 1.1, 1.05]
    mean, half_width = mean_interval(values, pilot=5)
    low, high = stats.t.interval(0.95, 4, loc=statistics.fmean(values), scale=stats.sem(values))
    assert (mean - half_width, mean + half_width) == pytest.approx((low, high))


def test_an_interval_needs_two_values():
    with pytest.raises(ValueError, match="two values"):
        mean_interval([1.0], pilot=6)


@given(st.lists(log_ratio, min_size=2, max_size=20))
def test_the_speedup_is_the_geometric_mean_of_the_blocks_ratios(of_blocks):
    measured = ratio_estimate(of_blocks, pilot=len(of_blocks))
    assert measured.value == pytest.approx(statistics.geometric_mean(map(math.exp, of_blocks)))


@given(log_ratio, st.integers(min_value=2, max_value=20))
def test_equal_blocks_leave_no_doubt(ratio, blocks):
    measured = ratio_estimate([ratio] * blocks, pilot=blocks)
    assert (measured.ci_low, measured.value, measured.ci_high) == (pytest.approx(math.exp(ratio)),) * 3


@given(st.lists(log_ratio, min_size=2, max_size=20), log_ratio)
def test_a_constant_factor_moves_value_and_interval_alike(of_blocks, factor):
    before = ratio_estimate(of_blocks, pilot=len(of_blocks))
    after = ratio_estimate([ratio + factor for ratio in of_blocks], pilot=len(of_blocks))
    for bound in ("value", "ci_low", "ci_high"):
        assert getattr(after, bound) == pytest.approx(getattr(before, bound) * math.exp(factor))


@given(st.lists(log_ratio, min_size=2, max_size=20))
def test_swapping_the_legs_inverts_the_speedup(of_blocks):
    there = ratio_estimate(of_blocks, pilot=len(of_blocks))
    back = ratio_estimate([-ratio for ratio in of_blocks], pilot=len(of_blocks))
    assert there.value * back.value == pytest.approx(1)
    assert there.ci_low * back.ci_high == pytest.approx(1)
    assert there.ci_low <= there.value * (1 + 1e-12)
    assert there.value <= there.ci_high * (1 + 1e-12)


def test_log_ratios_are_those_of_the_blocks_whose_step_times_are_there():
    slow, quick = (trial(spec(), step_seconds=seconds) for seconds in (0.02, 0.01))
    in_turns = trial_in_turns([[9, 3], [9, 3]]), trial_in_turns([[9, 1], [9, 1]])
    pairs = [(slow, quick), (slow.without_samples(), quick), in_turns]
    assert log_ratios(pairs) == pytest.approx([math.log(2), math.log(3)])


def test_differences_are_signed_before_they_are_averaged():
    measured = difference_estimate([0.5, 0.6], [0.6, 0.5], pilot=2)
    assert measured.value == pytest.approx(0)
    assert measured.ci_low < 0 < measured.ci_high


def test_memory_reduction_holds_the_extremes_over_blocks():
    measured = reduction_percent([100, 100], [60, 50])
    assert (measured.value, measured.ci_low, measured.ci_high) == (45, 40, 50)


def test_a_noisier_pilot_needs_more_blocks():
    quiet, noisy = [0.70, 0.701, 0.699], [0.6, 0.7, 0.8]
    assert blocks_needed(quiet, 0.02) < blocks_needed(noisy, 0.02)


def test_the_noise_floor_brackets_one_symmetrically_in_logs():
    floor = noise_floor([1.0, 1.1, 0.9])
    assert floor.value == 1
    assert math.log(floor.ci_high) == pytest.approx(-math.log(floor.ci_low))


@given(st.lists(log_ratio, min_size=2, max_size=16), log_ratio)
def test_the_noise_floor_in_turns_is_the_interval_of_one_leg_moved_to_one(of_leg, true_ratio):
    floor = noise_floor_in_turns([[ratio + true_ratio for ratio in of_leg]])
    _, half_width = mean_interval(of_leg, pilot=len(of_leg))
    assert floor.value == 1
    assert (math.log(floor.ci_low), math.log(floor.ci_high)) == pytest.approx((-half_width, half_width), abs=1e-9)


def test_the_noise_floor_in_turns_pools_the_legs_whatever_their_speedups():
    quick, slow = [0.7, 0.71, 0.72], [-0.2, -0.22, -0.24]
    spread = math.sqrt((statistics.variance(quick) + statistics.variance(slow)) / 2)
    floor = noise_floor_in_turns([quick, slow])
    assert math.log(floor.ci_high) == pytest.approx(stats.t.ppf(0.975, 2) * spread / math.sqrt(3))
    assert noise_floor_in_turns([slow, quick]) == floor


def test_the_noise_floor_in_turns_is_that_of_the_leg_with_the_fewest_blocks():
    long, short = [0.1, 0.2, 0.3, 0.2, 0.1], [0.5, 0.6]
    variance = (statistics.variance(long) + statistics.variance(short)) / 2
    floor = noise_floor_in_turns([long, short])
    assert math.log(floor.ci_high) == pytest.approx(stats.t.ppf(0.975, 1) * math.sqrt(variance / 2))


def test_a_noise_floor_in_turns_needs_two_blocks_of_every_leg():
    with pytest.raises(ValueError, match="two data points"):
        noise_floor_in_turns([[0.1, 0.2], [0.1]])


def estimate(low, high):
    return Estimate(value=(low + high) / 2, ci_low=low, ci_high=high)


@pytest.mark.parametrize(
    ("low", "high", "status"),
    [(1.5, 1.6, "pass"), (1.4, 1.6, "inconclusive"), (1.3, 1.499, "fail"), (1.3, 1.5, "inconclusive")],
)
def test_a_least_value_is_judged_by_the_whole_interval(low, high, status):
    assert judge_at_least(estimate(low, high), 1.5) == status


@pytest.mark.parametrize(
    ("low", "high", "status"),
    [
        (-0.009, 0.009, "pass"),
        (-0.011, 0.002, "inconclusive"),
        (0.011, 0.02, "fail"),
        (-0.03, -0.01, "fail"),
        (-0.01, 0.0, "inconclusive"),
    ],
)
def test_a_difference_is_judged_by_its_signed_interval(low, high, status):
    measured = Difference(value=abs(low + high) / 2, signed_mean=(low + high) / 2, ci_low=low, ci_high=high)
    assert judge_within(measured, 0.01) == status


def test_the_two_stage_interval_covers_the_truth_as_often_as_it_says():
    """4,000 simulated jobs so noisy that most run to `max_blocks`: the interval may only err on the wide side."""
    chance = random.Random(7)  # noqa: S311 # a simulation
    covered = 0
    for _ in range(4000):
        of_blocks = [chance.gauss(math.log(2), 0.05) for _ in range(16)]
        blocks = min(16, max(6, blocks_needed(of_blocks[:6], 0.02)))
        mean, half_width = mean_interval(of_blocks[:blocks], pilot=6)
        covered += abs(mean - math.log(2)) <= half_width
    assert 0.945 <= covered / 4000 <= 0.97


shares = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=2, max_size=16)


@given(shares)
def test_a_difference_of_shares_is_never_surer_than_one_prediction(pairs):
    baseline, candidate = ([count / 100 for count in counts] for counts in zip(*pairs, strict=True))
    blocks = len(pairs)
    measured = difference_estimate(baseline, candidate, blocks, [100] * blocks)
    plain = difference_estimate(baseline, candidate, blocks)
    assert measured.ci_high - measured.signed_mean >= 0.01 - 1e-12
    assert measured.ci_low <= plain.ci_low + 1e-12, "sampling only widens"
    assert plain.ci_high <= measured.ci_high + 1e-12
    assert measured.signed_mean == plain.signed_mean


def test_equal_differences_of_shares_keep_the_error_of_their_samples():
    """Ten predictions of 1000 in both blocks: the net of at least 20 disagreements among 2000."""
    measured = difference_estimate([0.51, 0.61], [0.50, 0.60], 2, [1000, 1000])
    half_width = stats.norm.ppf(0.975) * math.sqrt((0.01 - 0.01**2) / 2000)
    assert (measured.ci_low, measured.ci_high) == pytest.approx((0.01 - half_width, 0.01 + half_width))


def test_equal_shares_keep_the_error_of_their_samples():
    measured = gain_estimate([0.5, 0.5], [0.1, 0.2], 2, [100, 100])
    t_half_width = stats.t.ppf(0.975, 1) * statistics.stdev([0.4, 0.3]) / math.sqrt(2)
    assert measured.ci_high - measured.value == pytest.approx(t_half_width)
    measured = gain_estimate([0.5, 0.5], [0.25, 0.25], 2, [100, 100])
    assert measured.ci_high - measured.value == pytest.approx(stats.norm.ppf(0.975) * math.sqrt(0.25 / 200))


def test_a_loss_without_chance_s_samples_has_the_ordinary_interval():
    measured = gain_estimate([1.0, 1.0], [4.0, 4.1], 2, better="lower")
    assert measured.value == pytest.approx(3.05)
    assert measured.ci_high - measured.value == pytest.approx(
        stats.t.ppf(0.975, 1) * statistics.stdev([3.0, 3.1]) / math.sqrt(2)
    )


@pytest.mark.parametrize("disagreements", [0.002, 0.02, 0.2])
def test_the_interval_of_a_difference_of_shares_covers_the_truth(disagreements):
    """2,000 simulated jobs of two blocks, in which equal differences are frequent, beside the plain t interval."""
    chance = np.random.default_rng(7)
    predictions, better = 256, 0.7
    truth = disagreements * (2 * better - 1)
    covered = plainly = 0
    for _ in range(2000):
        net = [2 * chance.binomial(count, better) - count for count in chance.binomial(predictions, disagreements, 2)]
        shares = [0.5 + value / predictions for value in net]
        for sampled in (True, False):
            found = difference_estimate(shares, [0.5, 0.5], 2, [predictions] * 2 if sampled else None)
            covers = found.ci_low <= truth <= found.ci_high
            covered, plainly = covered + (sampled and covers), plainly + (not sampled and covers)
    assert plainly <= covered
    assert covered / 2000 >= 0.95
