"""What a running benchmark's events come to: trials, curves, intervals, and their places in a picture."""

from datetime import UTC, datetime

import pytest

from app.web import drawing, formats
from app.web.drawing import range_marks
from app.web.live_charts import interval_chart, loss_chart, so_far
from halftime.contract.report.report import Estimate
from halftime.contract.resources.benchmark import Event, Progress


def happened(*events):
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return [Event(seq=seq, created_at=moment, kind=kind, data=data) for seq, (kind, data) in enumerate(events, 1)]


def trial(leg, block, curve=(2.0, 1.0), **changes):
    data = {"leg": leg, "block": block, "phase": "measure", "median_step_seconds": 0.01, "validation_loss": 1.0}
    return "trial_finished", data | {"loss_curve": list(curve), "steps": 101} | changes


def speedup(value, half):
    return {"value": value, "ci_low": value - half, "ci_high": value + half}


def block(number, **speedups):
    return "block_finished", {"block": number, "planned_blocks": 4, "speedups": speedups}


def test_an_attempt_begins_anew():
    live = so_far(happened(("started", {}), trial("fp32", 0), ("worker_lost", {}), ("started", {})), None)
    assert live.trials == {}


def test_blocks_that_an_attempt_took_over_stay():
    events = [trial("fp32", number) for number in range(3)] + [block(number, bf16=speedup(2, 1)) for number in range(3)]
    live = so_far(happened(*events, ("started", {}), ("blocks_reused", {"blocks": 2})), None)
    assert live.blocks == [0, 1]
    assert sorted(live.speedups) == [0, 1]


def test_blocks_that_an_attempt_without_a_trial_did_not_take_over_are_there_for_the_next():
    lost = [("worker_lost", {}), ("started", {})]
    live = so_far(happened(trial("fp32", 0), trial("fp32", 1), *lost, *lost, ("blocks_reused", {"blocks": 2})), None)
    assert live.blocks == [0, 1]


def test_the_trial_under_way_is_shown_as_running_unless_it_was_before():
    progress = Progress(
        phase="measure", block=1, max_blocks=2, leg="bf16", step=1, total_steps=2, fraction=0.1, eta_seconds=None
    )
    assert so_far(happened(trial("fp32", 0)), progress).trials[0, "bf16"].state == "running"
    assert so_far(happened(trial("bf16", 0)), progress).trials[0, "bf16"].state == "finished"


def test_trials_of_the_capacity_search_are_none_of_the_comparison():
    assert so_far(happened(trial("fp32", 0, phase="capacity")), None).trials == {}


def test_a_trial_that_failed_says_with_what():
    failure = ("trial_failed", {"leg": "fp16", "block": 0, "phase": "measure", "code": "timeout", "detail": "x"})
    trial_seen = so_far(happened(failure), None).trials[0, "fp16"]
    assert (trial_seen.state, trial_seen.code) == ("failed", "timeout")


def test_a_loss_curve_is_the_mean_over_blocks_from_the_first_step_to_the_last():
    chart = loss_chart(so_far(happened(trial("fp32", 0, (4.0, 2.0)), trial("fp32", 1, (2.0, 0.0))), None))
    (series,) = chart.series
    ends = [chart.axes.x(1), chart.axes.y(3.0), chart.axes.x(101), chart.axes.y(1.0)]
    assert series.path == "M{:.1f} {:.1f}L{:.1f} {:.1f}".format(*ends)
    assert chart.axes.x(101) == drawing.WIDTH - drawing.RIGHT


def test_a_loss_that_is_not_finite_breaks_the_line():
    (series,) = loss_chart(so_far(happened(trial("fp16", 0, (3.0, 2.0, None, 1.0))), None)).series
    assert [series.path.count(step) for step in "ML"] == [2, 1]


def test_without_losses_there_is_no_chart():
    silent = ("trial_finished", {"leg": "fp32", "block": 0, "phase": "measure"})
    bare = (silent[0], silent[1] | {"median_step_seconds": 0.01, "validation_loss": None})
    assert loss_chart(so_far(happened(bare), None)) is None
    assert loss_chart(so_far(happened(trial("fp32", 0, (None, None))), None)) is None


def test_without_an_interval_there_is_no_chart():
    assert interval_chart(so_far(happened(block(0, bf16=None)), None), 4, 1.5) is None


def test_the_interval_of_the_last_block_is_shown_whole_and_wider_ones_are_cut():
    events = [block(1, bf16=speedup(2.0, 50.0)), block(2, bf16=speedup(2.0, 0.5))]
    chart = interval_chart(so_far(happened(*events), None), 4, 1.5)
    first, last = chart.whiskers
    assert (first.high, first.low) == (drawing.TOP, drawing.HEIGHT - drawing.BOTTOM)
    assert (last.high, last.low) == (chart.axes.y(2.5), chart.axes.y(1.5))
    assert first.high < last.high < last.value < last.low < first.low
    assert chart.required == chart.axes.y(1.5) < chart.one == chart.axes.y(1.0)


def test_candidates_stand_beside_each_other():
    chart = interval_chart(so_far(happened(block(1, bf16=speedup(2, 1), fp16=speedup(2, 1))), None), 4, None)
    assert len({whisker.x for whisker in chart.whiskers}) == 2
    assert chart.required is None


def test_range_marks_share_one_line_on_which_1_is_marked():
    estimates = [Estimate(value=2, ci_low=1.5, ci_high=2.5), None, Estimate(value=0.9, ci_low=0.8, ci_high=1.1)]
    faster, none, wide = range_marks(estimates)
    assert none is None
    assert faster.one == wide.one
    assert faster.one < faster.low < faster.value < faster.high
    assert 0 < wide.low < wide.value < wide.one < wide.high < drawing.MARK_WIDTH


def test_an_interval_of_a_few_blocks_runs_off_the_line_and_leaves_the_others_their_length():
    steady = Estimate(value=2, ci_low=1.5, ci_high=2.5)
    alone, _ = range_marks([steady, Estimate(value=0.9, ci_low=0.8, ci_high=1.1)])
    beside, wild = range_marks([steady, Estimate(value=0.9, ci_low=-3, ci_high=40)])
    assert beside == alone
    assert (wild.low, wild.high) == (0, drawing.MARK_WIDTH)


def test_prose_shows_what_stands_between_backticks_as_code_and_escapes_all_of_it():
    assert formats.of_prose("Raise `timeout_seconds`, or ask <b>.") == (
        "Raise <code>timeout_seconds</code>, or ask &lt;b&gt;."
    )
    assert formats.of_prose("`<script>`") == "<code>&lt;script&gt;</code>"
    assert formats.of_prose("one ` alone") == "one ` alone"


@pytest.mark.parametrize(
    ("y_range", "labels"),
    [((0, 10), ["0", "2", "4", "6", "8", "10"]), ((1.02, 1.09), ["1.02", "1.04", "1.06", "1.08"]), ((5, 5), ["5.0"])],
)
def test_ticks_are_round_numbers(y_range, labels):
    assert [tick.label for tick in drawing.frame((0, 1), y_range).y_ticks] == labels


def test_amounts_are_worded_with_their_units():
    assert [formats.of_bytes(count) for count in (0, 1023, 1010 * 2**20, 3 * 2**31)] == [
        "0 B",
        "1023 B",
        "0.986 GiB",
        "6 GiB",
    ]
    assert [formats.of_seconds(count) for count in (0.4, 74, 3700, 90_000)] == [
        *("0 s", "1 min 14 s", "1 h 1 min", "1 d 1 h"),
    ]
    assert [formats.of_step_seconds(seconds) for seconds in (1e-4, 0.0123, 2)] == ["0.100 ms", "12.3 ms", "2,000 ms"]


def test_what_is_kept_of_an_attempt_is_told_with_its_counts():
    data = {"blocks_reused": {"blocks": 4}, "blocks_discarded": {"unpaired": 1, "measured_otherwise": 0}}
    assert [formats.of_event(event) for event in happened(*data.items())] == [
        "Kept of the attempt before: 4 blocks",
        "Discarded of the attempt before: 1 without the other of their pair",
    ]
