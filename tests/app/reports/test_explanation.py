"""The explanation of a speedup in every format of a report."""

import csv
import io
import json

import anyio
import pytest
from rich.console import Console

from app.rendering.html import part_of_page, to_html
from app.reports.csv import to_csv
from app.reports.markdown import to_markdown
from app.reports.terminal import print_report
from app.reports.text.explanation import (
    KIND_COLUMNS,
    advice_lines,
    kind_tables,
    missing_lines,
    slowest_lines,
    split_text,
    why_line,
)
from app.reports.text.wording import headline, leg_rows
from halftime.contract.report.explanation import TimeByKind, WorkKind
from halftime.contract.report.kinds import KIND_TITLES, shares_of_step
from halftime.contract.report.report import Report
from tests.app.reports.explained import CAUSE, MISSING, explained, unexplained
from tests.app.reports.reported import reported


@pytest.fixture(scope="module")
def plain():
    return unexplained(anyio.run(reported), reason=None)


@pytest.fixture(scope="module")
def report(plain):
    return explained(plain)


def in_a_terminal(report, width=200):
    written = io.StringIO()
    print_report(Console(file=written, width=width), report)
    return written.getvalue()


PROSE = {"page": part_of_page, "file": to_html, "Markdown": to_markdown, "terminal": in_a_terminal}


def said(form, report):
    """The words of a rendering, without breaks of lines and marks of code."""
    text = PROSE[form](report).replace("\u00a0", " ").replace("<code>", "`").replace("</code>", "`")
    return " ".join(text.replace("&#39;", "'").split())


def csv_rows(report, **wanted):
    rows = csv.DictReader(io.StringIO(to_csv(report), newline=""))
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def changed(report, **changes):
    (first, *others) = report.comparisons
    return report.model_copy(update={"comparisons": [first.model_copy(update=changes), *others]})


def test_every_kind_of_work_has_a_title_of_its_own():
    assert set(KIND_TITLES) == set(WorkKind.__args__)
    assert len(set(KIND_TITLES.values())) == len(KIND_TITLES)


def test_the_sample_adds_up_to_the_median_step(report):
    for leg in (report.baseline, *(one.candidate for one in report.comparisons)):
        assert sum(time.seconds_per_step for time in leg.time_by_kind) == pytest.approx(leg.median_step_seconds)


def test_the_cause_follows_the_speedup_in_the_headline(plain, report):
    speed, _, rest = headline(plain).partition(" on a CPU, ")
    assert headline(report) == f"{speed} on a CPU, {CAUSE}; it {rest.replace(', and', ' and')}"


def test_a_headline_of_speed_alone_ends_with_the_cause(report):
    alone = changed(report, memory_reduction_percent=None, accuracy_difference=None)
    assert f"on a CPU, {CAUSE}: requirements" in headline(alone)


def test_an_invalid_comparison_has_no_cause(report):
    assert CAUSE not in headline(changed(report, verdict="invalid"))


@pytest.mark.parametrize("form", PROSE)
def test_the_cause_and_the_bound_are_in_what_people_read(report, form):
    text = said(form, report)
    assert CAUSE in text
    assert (
        "2.44 (2.41 to 2.47) × if matrix products and attention cost nothing; 3.10 (3.00 to 3.20) × if all work ran at "
        "the device's ceilings. Measured: 2.00"
    ) in text


def test_what_is_unknown_of_the_bound_is_left_out(report):
    explanation = report.comparisons[0].explanation
    bound = explanation.bound.model_copy(update={"all_at_ceiling": None})
    line = why_line(changed(report, explanation=explanation.model_copy(update={"bound": bound})).comparisons[0])
    assert "cost nothing. Measured: 2.00" in line
    nothing = bound.model_copy(update={"matmul_free": None})
    line = why_line(changed(report, explanation=explanation.model_copy(update={"bound": nothing})).comparisons[0])
    assert line == "Limited" + CAUSE.removeprefix("limited") + "."


@pytest.mark.parametrize("form", PROSE)
def test_without_advice_a_report_says_that_there_is_none(report, form):
    none = "What to change: of the changes that Halftime knows, the measurements speak for none that gains 5 %."
    assert none not in said(form, report)
    explanation = report.comparisons[0].explanation.model_copy(update={"advice": []})
    assert none in said(form, changed(report, explanation=explanation))


@pytest.mark.parametrize("form", PROSE)
def test_advice_is_a_ranked_list_with_its_gain_and_evidence(report, form):
    text = said(form, report)
    for advice in report.comparisons[0].explanation.advice:
        assert advice.text in text
        assert advice.evidence[1:] in text
    assert "Expected throughput: 1.32 (1.20 to 1.44) × today's; measured 1.27 (1.23 to 1.31) ×." in text
    assert "Expected throughput: 1.12 (1.06 to 1.18) × today's." in text
    assert "Not measured: the time budget was spent." in text
    assert text.index("Compile the model") < text.index("Double the batch") < text.index("Then stop")


@pytest.mark.parametrize("form", PROSE)
def test_the_time_that_the_explanation_took_is_named_as_such(plain, report, form):
    assert "s for checks of precision, memory and numerics, and for the explanation." in said(form, report)
    assert "s for checks of precision, memory and numerics." in said(form, plain)


@pytest.mark.parametrize("form", PROSE)
def test_every_leg_has_a_table_of_its_kinds(report, form):
    text = said(form, report)
    for name, rows in kind_tables(report):
        assert name in {"fp32", "bf16", "fp16"}
        for row in rows:
            assert all(cell in text for cell in row)
    assert all(column in text for column in KIND_COLUMNS)


def test_tables_have_their_kinds_in_one_order_and_end_with_the_whole_step(report):
    tables = [rows for _, rows in kind_tables(report)]
    assert [row[0] for row in tables[0]][:3] == ["matrix products", "elementwise", "attention"]
    order = [row[0] for row in tables[2]]
    for rows in tables:
        assert [name for name in order if name in {row[0] for row in rows}] == [row[0] for row in rows]
        assert (rows[-1][0], rows[-1][2]) == ("whole step", "100")
        assert float(rows[-1][1]) == pytest.approx(sum(float(row[1]) for row in rows[:-1]), abs=0.1)


def test_a_row_says_what_limits_the_kind_and_how_far_it_is_from_it(report):
    (_, rows), *_ = kind_tables(report)
    by_kind = {row[0]: row for row in rows}
    assert by_kind["elementwise"][2:] == ("16", "memory", "83", "240")
    assert by_kind["host"][3:] == ("–", "–", "0")


@pytest.mark.parametrize("form", PROSE)
def test_the_slowest_operations_of_what_takes_long_are_named(report, form):
    step_milliseconds = 1000 * report.baseline.median_step_seconds
    first = f"in ms of a step: matrix products: mm {0.6 * 0.46 * step_milliseconds:,.2f}, addmm "
    assert f"Slowest operations of fp32, {first}" in said(form, report)
    (of_fp32, *_) = slowest_lines(report)
    assert "elementwise: gelu_backward" in of_fp32
    assert "optimizer" not in of_fp32  # 8 % of the step
    plain = report.baseline.model_copy(update={"time_by_kind": []})
    assert len(slowest_lines(report.model_copy(update={"baseline": plain}))) == len(slowest_lines(report)) - 1


def test_bytes_alone_do_not_say_how_far_attention_is_from_a_ceiling(report):
    of_bytes_alone = [
        time.model_copy(update={"least_flops": None, "bound_by": "memory"}) if time.kind == "attention" else time
        for time in report.baseline.time_by_kind
    ]
    baseline = report.baseline.model_copy(update={"time_by_kind": of_bytes_alone})
    (_, rows), *_ = kind_tables(report.model_copy(update={"baseline": baseline}))
    assert next(row for row in rows if row[0] == "attention")[3:] == ("–", "–", "12")


def test_a_page_has_each_request_and_a_link_to_the_form_and_a_file_the_request_alone(report):
    page, file = part_of_page(report), to_html(report)
    assert page.count("Request with this change") == file.count("Request with this change") == 4
    assert page.count('href="/ui/new?request=') == 4
    assert "/ui/new" not in file
    assert "&#34;compile&#34;: {}" in file


@pytest.mark.parametrize("form", ["page", "file"])
def test_words_of_the_explanation_are_explained_where_they_are_used(report, form):
    why = said(form, report).split('id="why"')[1].split('id="pictures"')[0]
    for word in ("Launch", "Host alone", "Gap between matrix products", "Ceiling"):
        assert f"<dt>{word}</dt>" in why


def test_a_page_has_the_charts_of_the_explanation_there_and_not_among_the_others(report):
    why, charts = part_of_page(report).split('<h2 id="pictures">')
    assert why.count("<figure>") == 3
    assert "Roofline" not in charts


def test_csv_has_every_number_of_every_kind(report):
    rows = csv_rows(report, section="time_by_kind", leg="bf16")
    numbers = {row["name"]: row["value"] for row in rows}
    for time in report.comparisons[0].candidate.time_by_kind:
        for operator in time.slowest_operators:
            name = f"{time.kind}.slowest_operators.{operator.name}"
            assert numbers[name] == str(operator.seconds_per_step)
        for name in set(TimeByKind.model_fields) - {"kind", "slowest_operators"}:
            value = getattr(time, name)
            assert numbers[f"{time.kind}.{name}"] == ("" if value is None else str(value))
    (row,) = [row for row in rows if row["name"] == "matrix_products.seconds_per_step"]
    assert row["unit"] == "s"


def test_csv_has_cause_bound_and_advice(report):
    (cause,) = csv_rows(report, section="explanation", leg="bf16", name="cause")
    (bound,) = csv_rows(report, section="explanation", leg="bf16", name="bound.matmul_free")
    assert cause["value"] == CAUSE
    assert [float(bound[name]) for name in ("value", "ci_low", "ci_high")] == pytest.approx([2.44, 2.41, 2.47])
    names = [row["name"] for row in csv_rows(report, section="advice", leg="bf16")]
    assert [name for name in names if name.startswith("stop_here")] == [
        "stop_here.estimated_gain", "stop_here.text", "stop_here.evidence"
    ]  # fmt: skip
    (request,) = csv_rows(report, section="advice", leg="bf16", name="compile.request")
    assert json.loads(request["value"]) == report.comparisons[0].explanation.advice[0].request


def test_utilisation_and_the_vendor_s_peak_are_figures_of_a_leg(plain, report):
    rows = {row[0]: row[1:] for row in leg_rows(report)}
    assert rows["Model FLOPs utilisation, of its precision's peak (%)"] == ("41.0",) * 3
    assert rows["Vendor's dense peak (TFLOP/s)"] == ("989",) * 3
    assert {row[0] for row in leg_rows(plain)} == set(rows) - {
        "Model FLOPs utilisation, of its precision's peak (%)", "Vendor's dense peak (TFLOP/s)"
    }  # fmt: skip


@pytest.mark.parametrize("form", PROSE)
def test_what_is_missing_is_said_once_with_its_reason(plain, form):
    text = said(form, unexplained(plain))
    assert text.count(MISSING) == 1
    assert f"No explanation of bf16 against fp32, fp16 against fp32: {MISSING}." in text


def test_a_leg_that_alone_was_not_profiled_is_named(report):
    candidate = report.comparisons[0].candidate.model_copy(
        update={"time_by_kind": [], "time_by_kind_missing": "it failed"}
    )
    broken = changed(report, candidate=candidate, explanation=None, explanation_missing="bf16 was not profiled")
    assert missing_lines(broken) == [
        "No explanation of bf16 against fp32: bf16 was not profiled.",
        "No explanation of a step of bf16: it failed.",
    ]


def test_without_ceilings_the_missing_roofline_is_explained(report):
    text = said("page", report.model_copy(update={"ceilings": None}))
    assert "No roofline: the device's ceilings were not measured." in text
    assert "Memory traffic" not in text


@pytest.mark.parametrize("form", PROSE)
def test_a_report_that_says_nothing_of_an_explanation_is_silent(plain, form):
    text = said(form, plain)
    assert "Why this speedup" not in text
    assert "xplanation" not in text


@pytest.mark.parametrize("width", [40, 100])
def test_nothing_is_cut_in_a_terminal(report, width):
    text = in_a_terminal(report, width)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width
    assert " ".join(text.split()).endswith(headline(report))


def test_a_compact_split_names_the_largest_kinds(report):
    assert split_text(shares_of_step(report.baseline.time_by_kind)) == (
        "matrix products 46 %, elementwise 16 %, attention 11 %"
    )
    assert split_text([]) == "–"
    assert shares_of_step([]) == []


def test_hostile_text_of_a_request_stays_text(report):
    explanation = report.comparisons[0].explanation
    hostile = {"labels": {"note": '"><script>alert(1)</script>'}}
    advice = [explanation.advice[0].model_copy(update={"request": hostile, "text": "<script>alert(1)</script>"})]
    page = part_of_page(changed(report, explanation=explanation.model_copy(update={"advice": advice})))
    assert "<script" not in page
    assert advice_lines(report.comparisons[0])


def test_an_explained_report_survives_json(report):
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_a_file_with_an_explanation_is_below_three_megabytes(report):
    assert len(to_html(report).encode()) < 3_000_000
