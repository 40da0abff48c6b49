"""The report as CSV."""

import csv
import io

import anyio
import pytest

from app.reports.csv import COLUMNS, to_csv
from halftime.contract.report.named_legs import named_legs, ratios_by_block
from tests.app.reports.reported import reported, without_a_candidate


@pytest.fixture(scope="module")
def report():
    return anyio.run(reported)


def rows_of(report, **wanted):
    rows = list(csv.DictReader(io.StringIO(to_csv(report), newline=""), strict=True))
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_every_line_has_every_column_and_ends_as_rfc_4180_says(report):
    text = to_csv(report)
    assert text.count("\r\n") == text.count("\n")
    assert {len(row) for row in csv.reader(io.StringIO(text, newline=""), strict=True)} == {len(COLUMNS)}


def test_a_speedup_stands_there_to_the_last_digit_with_its_interval(report):
    (row,) = rows_of(report, section="comparison", leg="bf16", name="speedup")
    found = report.comparisons[0].speedup
    assert [float(row[name]) for name in ("value", "ci_low", "ci_high")] == [found.value, found.ci_low, found.ci_high]


def test_a_requirement_has_its_threshold_and_its_verdict(report):
    (row,) = rows_of(report, section="requirement", leg="bf16", name="min_speedup")
    assert (float(row["threshold"]), row["status"]) == (1.5, report.comparisons[0].requirements[0].status)


def test_blocks_trials_memory_and_proof_are_there(report):
    ratios = [float(row["value"]) for row in rows_of(report, section="block", leg="fp16")]
    assert ratios == [ratio for _, ratio in ratios_by_block(report.baseline, report.comparisons[1].candidate)]
    trials = sum(len(leg.leg.trials) for leg in named_legs(report))
    assert len(rows_of(report, section="trial", name="median_step_seconds")) == trials
    parts = {row["name"]: int(row["value"]) for row in rows_of(report, section="memory", leg="fp32")}
    assert parts == report.baseline.memory_breakdown.model_dump()
    assert len(rows_of(report, section="attestation")) == len(report.attestation.checks)


def test_a_failed_leg_says_why():
    rows = rows_of(anyio.run(reported, without_a_candidate), section="leg", leg="bf16", name="failure")
    assert [(row["status"], row["value"]) for row in rows] == [("out_of_memory", "asked for 9 GiB, 1 GiB was free")]


@pytest.mark.parametrize("sign", "=+-@\t\r")
def test_no_text_is_a_formula_to_a_spreadsheet(report, sign):
    given = f"{sign}HYPERLINK(1)"
    (row,) = rows_of(report.model_copy(update={"warnings": [given]}), section="warning")
    assert row["value"] == f"'{given}"


def test_a_negative_number_stays_a_number(report):
    rows = rows_of(report, section="comparison", name="loss_difference")
    assert [float(row["value"]) for row in rows] == [found.loss_difference.signed_mean for found in report.comparisons]


def test_a_line_break_stays_within_its_field(report):
    given = 'two\nlines, and a "quote"'
    (row,) = rows_of(report.model_copy(update={"warnings": [given]}), section="warning")
    assert row["value"] == given
