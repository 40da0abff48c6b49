"""How the legs were paired is said in every format; nothing is said of it in a report that does not know."""

import csv
import io
from functools import partial

import anyio
import pytest

from app.rendering.html import to_html
from app.reports.compare import compare
from app.reports.csv import to_csv
from app.reports.markdown import to_markdown
from app.reports.text.pairing import pairing_lines
from app.reports.text.wording import trial_rows
from app.store.claims import summarise
from tests.app.reports.reported import reported, reported_in_turns
from tests.worker.comparison.in_turns import Machine, turned, with_load


@pytest.fixture(scope="module")
def in_turns():
    return anyio.run(reported_in_turns)


@pytest.fixture(scope="module")
def disturbed():
    return anyio.run(reported_in_turns, Machine(turned=lambda specs, turns: with_load(turned(specs, turns), 1)))


def rows_of(report, section):
    return [row for row in csv.DictReader(io.StringIO(to_csv(report))) if row["section"] == section]


def test_a_report_says_that_legs_took_turns_how_and_why(in_turns):
    turns = in_turns.turns
    lines = pairing_lines(in_turns)
    assert lines[0] == (
        f"The legs of a block took turns, {turns.rounds} slices of {turns.slice_steps} steps each "
        f"({turns.slice_seconds:.2g} s): {in_turns.pairing_reason}."
    )
    assert turns.reason in lines
    assert "Pairs of neighbouring slices that the speedup comes from: bf16 16." in lines
    assert any(line.endswith("over that of the others: fp32 1.00, bf16 1.00.") for line in lines)
    for rendered in (to_markdown(in_turns), to_html(in_turns), to_csv(in_turns)):
        assert "The legs of a block took turns, 4 slices of" in rendered


def test_pairs_that_were_left_out_are_counted(disturbed):
    assert any("bf16 12 (4 more were disturbed and left out)." in line for line in pairing_lines(disturbed))
    found = {row["name"]: row["value"] for row in rows_of(disturbed, "comparison")}
    assert (found["pairs"], found["disturbed_pairs"]) == ("12", "4")
    assert {row[-1] for row in trial_rows(disturbed)} == {"–", "1 of 4 slices"}


def test_a_report_of_whole_trials_says_why_they_were_whole():
    report = anyio.run(partial(reported_in_turns, measurement={"min_blocks": 2, "max_blocks": 2, "pairing": "trials"}))
    (line,) = pairing_lines(report)
    assert line == "The trials of a block were run whole, one after the other: the request asks for whole trials."


def test_a_report_that_does_not_know_says_nothing():
    report = anyio.run(reported).model_copy(update={"pairing_reason": ""})
    assert pairing_lines(report) == []
    assert rows_of(report, "survey") == []
    assert "survey" not in to_html(report)


def test_the_survey_is_the_first_of_the_trials_and_has_the_memory(in_turns):
    rows = trial_rows(in_turns)
    assert [row[:2] for row in rows[:2]] == [("survey", "fp32"), ("survey", "bf16")]
    assert len(rows) == 2 * (1 + in_turns.blocks)
    in_csv = {(row["leg"], row["name"]): row["value"] for row in rows_of(in_turns, "survey")}
    assert in_csv["bf16", "peak_memory_bytes"] == "550"


def test_what_turns_cost_is_in_the_csv(in_turns):
    of_legs = {(row["leg"], row["name"]): row["value"] for row in rows_of(in_turns, "leg")}
    assert float(of_legs["fp32", "pick_up_ratio"]) == pytest.approx(1)
    assert float(of_legs["fp32", "waiting_cpu_cores"]) == 0


def test_the_ratio_of_a_block_in_the_csv_is_that_of_its_pairs(in_turns):
    assert [float(row["value"]) for row in rows_of(in_turns, "block")] == pytest.approx([2.0] * 4)


def test_a_leg_that_ended_early_says_so_with_the_reason(in_turns):
    (found,) = in_turns.comparisons
    slow = found.candidate.model_copy(update={"ended_early_reason": "a step takes 40 times as long."})
    report = in_turns.model_copy(update={"comparisons": [found.model_copy(update={"candidate": slow})]})
    of_legs = {(row["leg"], row["name"]): row["value"] for row in rows_of(report, "leg")}
    assert of_legs["bf16", "ended_early"] == "a step takes 40 times as long."


def test_later_estimates_count_the_survey_among_the_trials(in_turns):
    timed = in_turns.model_copy(update={"overhead_seconds": 20.0})
    assert summarise(timed).overhead_seconds_per_trial == pytest.approx(20 / 10)


def test_reports_that_were_paired_otherwise_are_compared_with_a_warning(in_turns):
    whole = anyio.run(partial(reported_in_turns, measurement={"min_blocks": 2, "max_blocks": 2, "pairing": "trials"}))
    assert any("took turns in one of the reports alone" in warning for warning in compare(in_turns, whole).warnings)
    assert compare(in_turns, in_turns).warnings == []
