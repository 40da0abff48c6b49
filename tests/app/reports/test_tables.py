"""A figure or a requirement that is added to the tables is in every format of a report."""

import csv
import io

import anyio
import pytest
from rich.console import Console

from app.rendering.html import to_html
from app.reports import csv as csv_report
from app.reports.export import columns
from app.reports.markdown import to_markdown
from app.reports.terminal import print_report
from app.reports.text.verdict_words import verdict_words
from app.reports.text.wording import headline
from app.web.form import FRONT
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.figures import COMPARISON_FIGURES, LEG_FIGURES, TRIAL_FIGURES, Figure, Shown
from halftime.contract.report.report import Comparison, Difference, Requirement
from halftime.contract.report.requirements import REQUIREMENTS, RequirementKind
from halftime.contract.report.trial import MetricFacts
from halftime.contract.request.request import Requirements
from tests.app.reports.reported import reported
from worker.report.verdicts import judge, judge_requirements


@pytest.fixture(scope="module")
def report():
    return anyio.run(reported)


def in_a_terminal(report):
    written = io.StringIO()
    print_report(Console(file=written, width=200), report)
    return written.getvalue()


#: What people read.
PROSE = {"page": to_html, "Markdown": to_markdown, "terminal": in_a_terminal}


def csv_rows(report, **wanted):
    rows = csv.DictReader(io.StringIO(csv_report.to_csv(report), newline=""))
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


@pytest.fixture
def fan_speed(monkeypatch):
    made = Figure("fan_hertz", "Fan speed", "Hz", lambda leg: 12.25, "lower", Shown(",.1f", "rpm", 60), exported=True)
    monkeypatch.setitem(LEG_FIGURES, made.name, made)


@pytest.fixture
def noise(monkeypatch):
    """A figure of a comparison, on which there is a requirement."""
    measured = Estimate(value=2.5, ci_low=2.25, ci_high=2.75)
    figure = Figure("noise_ratio", "Noise ratio", "x", lambda found: measured, "lower", Shown(".2f", "dB"))
    kind = RequirementKind("max_noise_ratio", figure.name, "below", "a noise ratio below {:g}")
    monkeypatch.setitem(COMPARISON_FIGURES, figure.name, figure)
    monkeypatch.setitem(REQUIREMENTS, kind.name, kind)
    return measured


def required(measured, threshold, status):
    """One requirement, as a later release would write it."""
    return Requirement.model_construct(
        name="max_noise_ratio", threshold=threshold, measured=measured, met=False, status=status
    )


def judged(report, requirement):
    (first, *others) = report.comparisons
    first = first.model_copy(update={"requirements": [*first.requirements, requirement]})
    return report.model_copy(update={"comparisons": [first, *others]})


@pytest.mark.parametrize("form", PROSE)
@pytest.mark.usefixtures("fan_speed")
def test_a_new_figure_of_a_leg_is_in_what_people_read(report, form):
    text = PROSE[form](report)
    assert "Fan speed (rpm)" in text
    assert text.count("735.0") == 3


@pytest.mark.usefixtures("fan_speed")
def test_a_new_figure_of_a_leg_is_in_csv_and_exports(report):
    rows = csv_rows(report, section="leg", name="fan_hertz")
    assert [(row["leg"], row["value"], row["unit"]) for row in rows] == [
        (name, "12.25", "Hz") for name in ("fp32", "bf16", "fp16")
    ]
    assert {"baseline_fan_hertz", "candidate_fan_hertz"} <= set(columns())


@pytest.mark.parametrize("form", PROSE)
@pytest.mark.usefixtures("noise")
def test_a_new_figure_of_a_comparison_is_in_what_people_read(report, form):
    text = PROSE[form](report)
    assert text.count("Noise ratio") == len(report.comparisons)
    assert "2.50 (2.25 to 2.75) dB" in text


@pytest.mark.usefixtures("noise")
def test_a_new_figure_of_a_comparison_is_in_csv_and_exports(report):
    (row,) = csv_rows(report, section="comparison", leg="bf16", name="noise_ratio")
    assert [row[name] for name in ("value", "ci_low", "ci_high", "unit")] == ["2.5", "2.25", "2.75", "x"]
    assert {"noise_ratio", "noise_ratio_ci_low", "noise_ratio_ci_high"} <= set(columns())


@pytest.mark.parametrize("form", PROSE)
def test_a_new_requirement_is_in_what_people_read(report, noise, form):
    text = PROSE[form](judged(report, required(noise, 2, "fail"))).replace("&lt;", "<")
    assert "2.50 (2.25 to 2.75) dB" in text
    assert "< 2" in text


def test_a_new_requirement_is_in_csv(report, noise):
    (row,) = csv_rows(judged(report, required(noise, 2, "fail")), section="requirement", name="max_noise_ratio")
    assert (row["value"], row["threshold"], row["status"], row["unit"]) == ("2.5", "2", "fail", "x")


@pytest.mark.parametrize(("threshold", "status"), [(3, "pass"), (2.5, "inconclusive"), (2.25, "fail"), (None, "off")])
def test_a_new_requirement_is_judged(report, monkeypatch, noise, threshold, status):
    monkeypatch.setattr(Requirement, "model_validate", lambda values: Requirement.model_construct(**values))

    class Wanted(Requirements):
        max_noise_ratio: float | None

    wanted = Wanted(max_noise_ratio=threshold)
    *_, last = judge_requirements(wanted, report.comparisons[0], report.baseline)
    assert (last.name, last.measured, last.status) == ("max_noise_ratio", noise, status)


def test_what_a_new_requirement_asks_for_is_a_reason(report, noise):
    found = judged(report, required(noise, 2, "fail"))
    _, reasons = judge(found.comparisons, found.baseline, [])
    assert "bf16: a noise ratio below 2 is required, and not met" in reasons


def test_every_requirement_of_a_request_is_in_the_table_and_stands_open_in_the_form():
    assert {*REQUIREMENTS, "max_metric_differences"} == set(Requirements.model_fields)
    assert FRONT["Requirements"] == tuple(f"/requirements/{name}" for name in Requirements.model_fields)


def test_a_requirement_asks_for_the_better_side_of_its_figure():
    for kind in REQUIREMENTS.values():
        better = COMPARISON_FIGURES[kind.figure].better
        assert kind.direction == {"higher": "at_least", "lower": "below"}[better]


def test_every_measured_figure_of_a_comparison_is_in_the_table():
    measured = {
        name
        for name, field in Comparison.model_fields.items()
        if field.annotation in {Estimate | None, Difference | None}
    }
    assert measured == set(COMPARISON_FIGURES)
    signed = {name for name, figure in COMPARISON_FIGURES.items() if figure.is_difference}
    assert signed == {name for name in measured if Comparison.model_fields[name].annotation == Difference | None}


def test_every_figure_is_read_from_a_report(report):
    for figure in LEG_FIGURES.values():
        figure.read(report.baseline)
    for figure in TRIAL_FIGURES.values():
        assert figure.read(report.baseline.trials[0]) is not None
    for figure in COMPARISON_FIGURES.values():
        assert figure.read(report.comparisons[0]) is not None


@pytest.mark.parametrize("form", PROSE)
def test_a_verdict_is_said_in_words_and_never_looks_like_a_status(report, form):
    assert report.verdict == "fail"
    text = PROSE[form](report)
    assert headline(report).endswith("requirements not met.")
    assert "requirements not met" in text
    assert "not met" in text
    assert ": fail" not in text
    assert verdict_words("failed") == "failed"


def test_csv_keeps_the_values_of_verdicts(report):
    (row,) = csv_rows(report, section="answer", name="headline")
    assert row["status"] == "fail"


def of_task(report, *metrics):
    """The report as that of a task with these metrics, without a requirement on accuracy."""
    facts = [
        MetricFacts(name=name, title=name, unit="", better="lower", best_possible=None, chance=None) for name in metrics
    ]
    requirements = [
        one.model_copy(update={"threshold": None, "status": "off"}) if one.name == "max_accuracy_difference" else one
        for one in report.comparisons[0].requirements
    ]
    first = report.comparisons[0].model_copy(update={"requirements": requirements})
    data = report.data.model_copy(update={"metrics": facts})
    return report.model_copy(update={"comparisons": [first], "data": data})


@pytest.mark.parametrize("form", PROSE)
def test_a_requirement_that_is_off_is_shown_only_where_the_task_has_its_metric(report, form):
    assert "Accuracy difference" in PROSE[form](of_task(report, "loss", "accuracy"))
    assert "Accuracy difference" not in PROSE[form](of_task(report, "loss", "mean_absolute_error"))
