"""What a running benchmark's events come to: trials, curves, intervals, and their places in a picture."""

import pytest

from app.reports.live.reducer import apply
from app.reports.live.state import LiveState
from app.web import drawing, formats
from app.web.drawing import interval_bars
from app.web.live_charts import interval_chart, loss_chart
from halftime.contract.report.estimate import Estimate
from tests.events import events


def state_after(*told):
    state = LiveState("queued", "queued")
    for event in events(*told):
        apply(state, event)
    return state


def trial(leg, block, curve=(2.0, 1.0), **changes):
    data = {"leg": leg, "block": block, "phase": "measure", "median_step_seconds": 0.01, "validation_loss": 1.0}
    return "trial_finished", data | {"loss_curve": list(curve), "steps": 101} | changes


def speedup(value, half):
    return {"value": value, "ci_low": value - half, "ci_high": value + half}


def block(number, **speedups):
    return "block_finished", {"block": number, "planned_blocks": 4, "speedups": speedups}


def test_a_loss_curve_is_the_mean_over_blocks_from_the_first_step_to_the_last():
    chart = loss_chart(state_after(trial("fp32", 0, (4.0, 2.0)), trial("fp32", 1, (2.0, 0.0))))
    (series,) = chart.series
    ends = [chart.axes.x(1), chart.axes.y(3.0), chart.axes.x(101), chart.axes.y(1.0)]
    assert series.path == "M{:.1f} {:.1f}L{:.1f} {:.1f}".format(*ends)
    assert chart.axes.x(101) == drawing.WIDTH - drawing.RIGHT


def test_a_loss_that_is_not_finite_breaks_the_line():
    (series,) = loss_chart(state_after(trial("fp16", 0, (3.0, 2.0, None, 1.0)))).series
    assert [series.path.count(step) for step in "ML"] == [2, 1]


def test_without_losses_there_is_no_chart():
    silent = ("trial_finished", {"leg": "fp32", "block": 0, "phase": "measure"})
    bare = (silent[0], silent[1] | {"median_step_seconds": 0.01, "validation_loss": None})
    assert loss_chart(state_after(bare)) is None
    assert loss_chart(state_after(trial("fp32", 0, (None, None)))) is None


def test_without_an_interval_there_is_no_chart():
    assert interval_chart(state_after(block(0, bf16=None)), 4, 1.5) is None


def test_the_interval_of_the_last_block_is_shown_whole_and_wider_ones_are_cut():
    chart = interval_chart(state_after(block(1, bf16=speedup(2.0, 50.0)), block(2, bf16=speedup(2.0, 0.5))), 4, 1.5)
    first, last = chart.whiskers
    assert (first.high, first.low) == (drawing.TOP, drawing.HEIGHT - drawing.BOTTOM)
    assert (last.high, last.low) == (chart.axes.y(2.5), chart.axes.y(1.5))
    assert first.high < last.high < last.value < last.low < first.low
    assert chart.required == chart.axes.y(1.5) < chart.one == chart.axes.y(1.0)


def test_candidates_stand_beside_each_other():
    chart = interval_chart(state_after(block(1, bf16=speedup(2, 1), fp16=speedup(2, 1))), 4, None)
    assert len({whisker.x for whisker in chart.whiskers}) == 2
    assert chart.required is None


def test_interval_bars_share_one_line_on_which_1_is_marked():
    estimates = [Estimate(value=2, ci_low=1.5, ci_high=2.5), None, Estimate(value=0.9, ci_low=0.8, ci_high=1.1)]
    faster, none, wide = interval_bars(estimates)
    assert none is None
    assert faster.one == wide.one
    assert faster.one < faster.low < faster.value < faster.high
    assert 0 < wide.low < wide.value < wide.one < wide.high < drawing.BAR_WIDTH


def test_an_interval_of_a_few_blocks_runs_off_the_line_and_leaves_the_others_their_length():
    steady = Estimate(value=2, ci_low=1.5, ci_high=2.5)
    alone, _ = interval_bars([steady, Estimate(value=0.9, ci_low=0.8, ci_high=1.1)])
    beside, wild = interval_bars([steady, Estimate(value=0.9, ci_low=-3, ci_high=40)])
    assert beside == alone
    assert (wild.low, wild.high) == (0, drawing.BAR_WIDTH)


def test_prose_shows_what_stands_between_backticks_as_code_and_escapes_all_of_it():
    assert formats.format_prose("Raise `timeout_seconds`, or ask <b>.") == (
        "Raise <code>timeout_seconds</code>, or ask &lt;b&gt;."
    )
    assert formats.format_prose("`<script>`") == "<code>&lt;script&gt;</code>"
    assert formats.format_prose("one ` alone") == "one ` alone"


@pytest.mark.parametrize(
    ("y_range", "labels"),
    [((0, 10), ["0", "2", "4", "6", "8", "10"]), ((1.02, 1.09), ["1.02", "1.04", "1.06", "1.08"]), ((5, 5), ["5.0"])],
)
def test_ticks_are_round_numbers(y_range, labels):
    assert [tick.label for tick in drawing.frame((0, 1), y_range).y_ticks] == labels


def test_amounts_are_worded_with_their_units():
    assert [formats.format_bytes(count) for count in (0, 1023, 1010 * 2**20, 3 * 2**31)] == [
        "0 B",
        "1023 B",
        "0.986 GiB",
        "6 GiB",
    ]
    assert [formats.format_duration(count) for count in (0.4, 74, 3700, 90_000)] == [
        *("0 s", "1 min 14 s", "1 h 1 min", "1 d 1 h"),
    ]
    assert [formats.format_step_time(seconds) for seconds in (1e-4, 0.0123, 2)] == ["0.100 ms", "12.3 ms", "2,000 ms"]


def test_what_is_kept_of_an_attempt_is_told_with_its_counts():
    data = {"blocks_reused": {"blocks": 4}, "blocks_discarded": {"unpaired": 1, "measured_otherwise": 0}}
    assert [formats.format_event(event) for event in events(*data.items())] == [
        "Blocks reused from the previous attempt: 4 blocks",
        "Blocks of the previous attempt discarded: 1 with only one leg of their pair",
    ]


def test_a_trial_of_the_survey_is_told_as_such():
    surveyed, measured = events(trial("fp32", 0, phase="survey"), trial("fp32", 0))
    assert formats.format_event(surveyed) == "Trial finished: survey, fp32"
    assert formats.format_event(measured) == "Trial finished: block 1, fp32"
