"""The ratio of two legs within a block: from pairs of slices, the disturbed ones left out, or from whole trials."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halftime.contract.report.pairs import block_log_ratio, counted_pairs, hodges_lehmann, slice_pairs
from halftime.contract.report.slices import Slice
from tests.factories import trial
from tests.trials_in_turns import spec, trial_in_turns

numbers = st.floats(min_value=-100, max_value=100)
lists = st.lists(numbers, min_size=1, max_size=20)


@given(lists, numbers)
def test_the_estimate_shifts_with_the_values(values, shift):
    assert hodges_lehmann([value + shift for value in values]) == pytest.approx(
        hodges_lehmann(values) + shift, abs=1e-9
    )


@given(lists, st.floats(min_value=-10, max_value=10))
def test_the_estimate_scales_with_the_values(values, factor):
    scaled = hodges_lehmann([value * factor for value in values])
    assert scaled == pytest.approx(hodges_lehmann(values) * factor, abs=1e-9)


@given(lists, st.randoms())
def test_the_order_of_values_is_irrelevant(values, chance):
    shuffled = chance.sample(values, len(values))
    assert hodges_lehmann(shuffled) == hodges_lehmann(values)


@given(lists)
def test_the_estimate_lies_among_the_values(values):
    assert min(values) <= hodges_lehmann(values) <= max(values)


@given(st.lists(st.floats(min_value=0, max_value=100), min_size=1, max_size=10), numbers)
def test_the_centre_of_symmetric_values_is_found(offsets, centre):
    values = [centre + sign * offset for offset in offsets for sign in (1, -1)]
    assert hodges_lehmann(values) == pytest.approx(centre, abs=1e-9)


@given(st.lists(st.floats(min_value=0.9, max_value=1), min_size=12, max_size=12), st.lists(numbers, max_size=4))
def test_a_quarter_of_the_values_may_be_arbitrarily_wrong(values, wrong):
    assert 0.9 <= hodges_lehmann([*values, *(1e6 * value for value in wrong)]) <= 1


@given(st.integers(min_value=1, max_value=10), st.floats(min_value=-0.1, max_value=0.1), numbers)
def test_a_linear_drift_cancels_where_the_order_alternates(pairs_of_rounds, drift, truth):
    """Neighbouring slices differ by the drift, up in one order and down in the other: ABBA BAAB."""
    signs = [1, -1, -1, 1] * pairs_of_rounds
    assert hodges_lehmann([truth + sign * drift for sign in signs]) == pytest.approx(truth, abs=1e-9)


def test_the_estimate_is_more_exact_than_the_median_and_nearly_as_exact_as_the_mean():
    """Of normal noise, with the variance of the mean as unit; the limit for many values is π / 3."""
    chance = np.random.default_rng(3)
    samples = chance.normal(0, 1, (4000, 12))
    estimates = [hodges_lehmann(sample.tolist()) for sample in samples]
    assert np.var(estimates) * 12 < 1.15 < np.var(np.median(samples, axis=1)) * 12


def test_an_estimate_needs_a_value():
    with pytest.raises(ValueError, match="no median"):
        hodges_lehmann([])


def test_slices_of_one_round_are_pairs():
    baseline = trial_in_turns([[9, 2, 2], [9, 4, 4, 4]])
    other = trial_in_turns([[9, 1, 1], [9, 3, 3, 3]], precision="bf16")
    pairs = slice_pairs(baseline, other)
    assert [(pair.baseline, pair.other) for pair in pairs] == list(zip(baseline.slices, other.slices, strict=True))
    assert [pair.log_ratio for pair in pairs] == pytest.approx([math.log(2), math.log(4 / 3)])


def test_the_step_that_picks_up_is_left_out():
    quick, slow = trial_in_turns([[1, 2, 2]]), trial_in_turns([[99, 2, 2]])
    assert slice_pairs(quick, slow)[0].log_ratio == 0


def test_the_median_step_of_a_slice_counts():
    pairs = slice_pairs(trial_in_turns([[1, 2, 99, 2]]), trial_in_turns([[1, 1, 1, 1]]))
    assert pairs[0].log_ratio == pytest.approx(math.log(2))


def test_rounds_of_a_leg_that_ended_earlier_have_no_partner():
    long, short = trial_in_turns([[1, 2]] * 4), trial_in_turns([[1, 1]] * 2)
    assert len(slice_pairs(long, short)) == len(slice_pairs(short, long)) == 2


def test_swapping_the_legs_changes_the_sign():
    one, other = trial_in_turns([[1, 2], [1, 3]]), trial_in_turns([[1, 1], [1, 7]])
    assert block_log_ratio(one, other) == pytest.approx(-block_log_ratio(other, one))


def counted_rounds(rounds, disturbed_baseline=(), disturbed_other=()):
    times = [[1, 2 + index] for index in range(rounds)]
    pairs = slice_pairs(trial_in_turns(times, disturbed_baseline), trial_in_turns(times, disturbed_other))
    return [pairs.index(pair) for pair in counted_pairs(pairs)]


def test_without_disturbances_all_pairs_count():
    assert counted_rounds(4) == [0, 1, 2, 3]


def test_a_pair_is_left_out_if_either_slice_is_disturbed():
    assert counted_rounds(6, disturbed_baseline={1}, disturbed_other={4}) == [0, 2, 3, 5]


def test_half_of_the_pairs_may_be_left_out():
    assert counted_rounds(4, disturbed_baseline={0, 3}) == [1, 2]


def test_three_quarters_of_many_pairs_may_be_left_out():
    assert counted_rounds(16, disturbed_baseline=range(4, 16)) == [0, 1, 2, 3]
    assert counted_rounds(20, disturbed_baseline={*range(5, 13)}, disturbed_other={*range(12, 20)}) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("rounds", "undisturbed"), [(2, 0), (4, 1), (6, 2), (8, 3), (12, 3), (16, 3), (20, 4)])
def test_all_pairs_count_if_fewer_than_a_quarter_or_four_or_half_are_undisturbed(rounds, undisturbed):
    assert counted_rounds(rounds, disturbed_baseline=range(undisturbed, rounds)) == [*range(rounds)]
    assert counted_rounds(rounds, disturbed_baseline=range(undisturbed + 1, rounds)) == [*range(undisturbed + 1)]


def test_a_slice_of_an_earlier_report_opens():
    stored = trial_in_turns([[1, 2]]).slices[0].model_dump(exclude={"run_delay_seconds", "stolen_cpu_seconds"})
    opened = Slice.model_validate(stored)
    assert (opened.run_delay_seconds, opened.stolen_cpu_seconds) == (None, None)


def test_the_figure_of_a_block_comes_from_its_counted_pairs():
    baseline = trial_in_turns([[1, 2], [1, 90], [1, 2], [1, 2]], disturbed={1})
    other = trial_in_turns([[1, 1]] * 4)
    assert block_log_ratio(baseline, other) == pytest.approx(math.log(2))


@given(st.floats(min_value=0.1, max_value=10), st.floats(min_value=0.9, max_value=1.1))
def test_a_machine_that_slows_steadily_does_not_move_the_figure(ratio, per_slice):
    """By the same factor from slice to slice, in the order ABBA BAAB."""
    times = {0: [], 1: []}
    for index, leg in enumerate((0, 1, 1, 0, 1, 0, 0, 1)):
        times[leg].append([1.0, per_slice**index / (ratio if leg else 1)])
    figure = block_log_ratio(trial_in_turns(times[0]), trial_in_turns(times[1]))
    assert figure == pytest.approx(math.log(ratio), abs=1e-9)


def test_whole_trials_are_compared_by_their_median_steps():
    baseline = trial(spec()).model_copy(update={"step_seconds": [1.0, 2.0, 90.0]})
    other = trial(spec("bf16")).model_copy(update={"step_seconds": [1.0, 1.0, 1.0]})
    assert slice_pairs(baseline, other) == []
    assert block_log_ratio(baseline, other) == pytest.approx(math.log(2))


@pytest.mark.parametrize("of_block", [trial(spec()), trial_in_turns([[1, 2], [1, 2]])], ids=["trials", "turns"])
def test_a_block_whose_step_times_were_dropped_has_no_figure(of_block):
    assert block_log_ratio(of_block, of_block.without_samples()) is None
    assert block_log_ratio(of_block.without_samples(), of_block) is None
