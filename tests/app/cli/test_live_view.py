"""The live view of a benchmark: what the events tell, and how it looks at a fixed width."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from app.cli.view.live_view import LiveView, block_line
from app.reports.live.benchmark import LiveBenchmark
from app.reports.text.interval_bar import Scale, interval_bar
from app.reports.text.sanitize import safe_text, sanitize
from halftime.contract.report.estimate import Estimate
from halftime.contract.resources.benchmark import Benchmark, Links, Progress, QueuePlace
from tests import events as told_events
from tests.factories import request

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ID = "019f0000-0000-7000-8000-000000000000"


def benchmark(**changes):
    """Queued, on a CPU, four blocks of two legs; started by an event, a minute ago."""
    asked = request(candidates=["bf16"], measurement={"min_blocks": 4, "max_blocks": 4})
    links = Links(self="", cancel="", events="", report="", logs="")
    values = {
        "id": ID, "status": "queued", "version": 1, "request": asked, "parameter_count": None, "labels": {},
        "priority": 0, "queue": QueuePlace(position=1, workers_online=1), "progress": None,
        "created_at": NOW - timedelta(minutes=2), "started_at": None, "finished_at": None, "attempt": 0,
        "worker": None, "summary": None, "failure": None, "warnings": [], "links": links,
    }  # fmt: skip
    return Benchmark(**values | changes)


def events(*told):
    """Events in order, from (kind, data)."""
    return told_events.events(*told, created_at=NOW - timedelta(minutes=1))


def trial(leg, block, seconds=0.0, loss=1.5):
    seconds = seconds or (0.02 if leg == "fp32" else 0.01)
    figures = {"median_step_seconds": seconds, "validation_loss": loss}
    return ("trial_finished", {"leg": leg, "block": block, "phase": "measure"} | figures)


def block(index, *interval):
    speedup = dict(zip(("value", "ci_low", "ci_high"), interval, strict=True)) if interval else None
    return ("block_finished", {"block": index, "planned_blocks": 4, "speedups": {"bf16": speedup}})


STARTED = ("started", {"attempt": 1, "worker": "node:cpu"})
LOST = ("worker_lost", {"attempt": 1, "worker": "node:cpu"})
TWO_BLOCKS = events(
    STARTED, trial("fp32", 0), trial("bf16", 0), block(0),
    trial("bf16", 1), trial("fp32", 1), block(1, 1.24, 1.15, 1.34),
)  # fmt: skip
RUNNING = Progress(
    phase="measure", block=3, max_blocks=4, leg="fp32", step=2, total_steps=5, fraction=0.55, eta_seconds=80
)


def stood(heard, **changes):
    live = LiveBenchmark(benchmark(**changes))
    for one in heard:
        live.receive(one)
    return live


def drawn(live, width=100, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    console.print(LiveView(live, lambda: NOW))
    return console.file.getvalue()


def test_the_view_shows_legs_speedup_block_and_times():
    text = drawn(stood([*TWO_BLOCKS, RUNNING]))
    for shown in ("fp32", "2/4", "20.00", "1.5000", "2/5", "1.24×", "1.15 to 1.34", "not met"):
        assert shown in text
    assert "Block 3 of 4 · 55% · 1:00 elapsed · about 1:20 left" in text


SURVEY = [(kind, data | {"phase": "survey"}) for kind, data in (trial("fp32", 0), trial("bf16", 0))]


def test_the_view_says_that_a_leg_is_surveyed():
    text = drawn(stood([*events(STARTED, SURVEY[0]), RUNNING.model_copy(update={"is_survey": True, "leg": "bf16"})]))
    assert "Training each leg once alone · 55%" in text
    assert "2/5" in text
    assert "Speedup" not in text


def test_the_view_says_that_legs_take_turns_and_how_far_every_leg_is():
    turns = [RUNNING.model_copy(update={"in_turns": True, **at}) for at in ({}, {"leg": "bf16", "step": 3})]
    text = drawn(stood([*events(STARTED, *SURVEY), *turns]))
    assert "Block 3 of 4 · legs take turns · 55%" in text
    assert "2/5" in text
    assert "3/5" in text


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_longer_than_the_terminal_and_the_figures_stay(width):
    text = drawn(stood([*TWO_BLOCKS, RUNNING]), width)
    assert max(map(len, text.splitlines())) <= width
    assert all(shown in text for shown in ("fp32", "bf16", "2/4", "20.00", "1.24×", "1.15 to 1.34"))
    assert "…" not in text


def test_without_colour_nothing_is_coloured():
    assert "\x1b" not in drawn(stood([*TWO_BLOCKS, RUNNING]), no_color=True, color_system=None)
    coloured = drawn(stood(TWO_BLOCKS), force_terminal=True, color_system="standard", no_color=False)
    assert "\x1b[" in coloured


@pytest.mark.parametrize("order", [[6, 0, 3, 1, 5, 2, 4], [0, 1, 2, 3, 4, 5, 6, 3, 1], [6, 5, 4, 3, 2, 1, 0]])
def test_events_out_of_order_or_heard_twice_end_in_the_same_view(order):
    assert drawn(stood([TWO_BLOCKS[index] for index in order])) == drawn(stood(TWO_BLOCKS))


def test_a_worker_that_tells_no_blocks_has_a_ratio_without_an_interval():
    older = [event for event in TWO_BLOCKS if event.kind != "block_finished"]
    live = stood(older)
    text = drawn(live)
    assert "2.00×" in text
    assert "no interval yet" in text
    assert live.state.finished_blocks == 1  # the second may still go on
    assert live.legs() == ["fp32", "bf16"]


def test_a_leg_that_failed_says_so_and_has_no_speedup():
    oom = {"leg": "bf16", "block": 0, "phase": "measure", "code": "out_of_memory", "detail": "asked 9 GiB"}
    text = drawn(stood(events(STARTED, trial("fp32", 0), ("trial_failed", oom), block(0), trial("fp32", 1), block(1))))
    assert "failed: out_of_memory" in text
    assert "! bf16 failed in block 1 (out_of_memory): asked 9 GiB" in text
    assert "Speedup" not in text


def test_a_leg_that_was_tried_again_has_not_failed():
    killed = {"leg": "bf16", "block": 0, "phase": "measure", "code": "internal", "detail": ""}
    text = drawn(stood(events(STARTED, ("trial_failed", killed), trial("bf16", 0))))
    assert "failed: internal" not in text


def test_a_new_attempt_starts_from_nothing_but_the_blocks_it_reuses():
    again = events(*[(event.kind, event.fields()) for event in TWO_BLOCKS], LOST, STARTED)
    assert stood(again).state.of_leg("fp32") == []
    assert "requeued: its worker was lost" in drawn(stood(again[:-1]))
    reused = events(*[(event.kind, event.fields()) for event in again], ("blocks_reused", {"blocks": 1}))
    assert [one.block for one in stood(reused).state.of_leg("fp32")] == [0]
    assert stood(reused).state.finished_blocks == 1


def test_an_event_that_is_not_understood_changes_nothing():
    odd = events(*[(event.kind, event.fields()) for event in TWO_BLOCKS], ("trial_finished", {"leg": 5}), ("new", {}))
    assert drawn(stood(odd)) == drawn(stood(TWO_BLOCKS))


HOSTILE = "[bold red]x[/]\x1b[31m\x9b2J\x07\u202eevil"


def test_hostile_text_is_shown_as_text():
    failure = {"leg": "bf16", "block": 0, "phase": "measure", "code": HOSTILE, "detail": HOSTILE}
    live = stood(events(STARTED, ("trial_failed", failure)), warnings=[HOSTILE])
    for text in (drawn(live, 200), block_line(live, NOW).plain):
        assert not set(text) & set("\x1b\x9b\x07\u202e")
    assert drawn(live, 200).count("[bold red]x[/]") == 4


def test_text_that_was_given_is_one_line_of_bounded_length():
    assert safe_text("a\nb\t\x00c").plain == "a b \N{REPLACEMENT CHARACTER}c"
    assert len(safe_text("x" * 10_000).plain) == 500
    assert sanitize("two\n\tlines") == "two\n\tlines"


def test_a_block_in_a_line_has_speedup_steps_and_times():
    line = block_line(stood([*TWO_BLOCKS, RUNNING]), NOW).plain
    assert line == (
        "block 2 of 4: bf16 1.24× (1.15 to 1.34); fp32 20.00 ms, bf16 10.00 ms; 1:00 elapsed · about 1:20 left"
    )


def test_the_mark_has_interval_value_and_threshold_at_their_places():
    scale = Scale.over([1.24, 1.5])
    mark = interval_bar(Estimate(value=1.0, ci_low=0.75, ci_high=1.5), 2.0, scale, 41).plain
    assert (mark[1 + 20], mark[1 + 12], mark[1 + 32], mark[1 + 40]) == ("●", "[", "]", "│")
    beyond = interval_bar(Estimate(value=1.0, ci_low=0.01, ci_high=50), None, scale, 41).plain
    assert (beyond[0], beyond[-1]) == ("◂", "▸")


def test_the_scale_stays_while_the_values_are_within():
    assert Scale.over([1.1]) == Scale.over([1.9, 0.6]) == Scale(0.5, 2)
    assert Scale.over([2.5, 0.3]) == Scale(0.25, 4)


def test_legs_of_one_precision_stand_apart_and_a_control_is_no_candidate():
    asked = request(candidates=["fp32"], measurement={"min_blocks": 4, "max_blocks": 4, "control": True})
    live = LiveBenchmark(benchmark(request=asked))
    for event in events(STARTED, trial("fp32", 0), trial("fp32 again", 0, 0.03), trial("fp32 control", 0, 0.04)):
        live.receive(event)
    assert live.legs() == ["fp32", "fp32 again", "fp32 control"]
    assert [live.state.of_leg(leg)[0].median_step_seconds for leg in live.legs()] == [0.02, 0.03, 0.04]
    assert live.candidates() == ["fp32 again"]
