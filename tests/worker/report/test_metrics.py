"""A task's further metrics: compared, judged and shown like loss and accuracy, whatever their names and units."""

import csv
import io
import json

import pytest

from app.reports.csv import to_csv
from app.reports.markdown import to_markdown
from app.reports.text.wording import context_lines, headline
from halftime.charts import loss, svg
from halftime.contract.report.figures import comparison_figures, leg_figures, trial_figures
from halftime.contract.report.metrics import MetricFacts
from halftime.contract.report.report import Report
from halftime.contract.request.request import Requirements
from tests.factories import comparison, request, trial
from worker.agent.tracking.record import record_of
from worker.comparison.blocks import compare
from worker.comparison.event_data import after_trial
from worker.report.build import make_report

pytestmark = pytest.mark.anyio

#: A detector's: no accuracy, and a loss without a unit.
METRICS = [
    MetricFacts(name="loss", title="validation loss", unit="", better="lower", best_possible=None, chance=3.0),
    MetricFacts(name="mean_iou", title="mean IoU", unit="", better="higher", best_possible=1.0, chance=0.1),
    MetricFacts(name="box_error", title="box error", unit="px", better="lower", best_possible=2.0, chance=40.0),
    MetricFacts(name="recall", title="recall", unit="", better="higher", best_possible=None, chance=0.0, is_share=True),
]
VALUES = {"mean_iou": 0.6, "box_error": 12.0, "recall": 0.5}
LAX = {"min_speedup": None, "min_memory_reduction_percent": None}


def detected(spec, **values):
    made = trial(spec, loss=1.0, validation_accuracy=None)
    shifted = {name: value * (1 + 0.001 * spec.block) for name, value in (VALUES | values).items()}
    counts = {metric.name: 1000 for metric in METRICS}
    data = made.data.model_copy(update={"metrics": METRICS, "best_possible_loss": None, "best_possible_accuracy": None})
    return made.model_copy(update={"validation_metrics": shifted, "validation_counts": counts, "data": data})


async def report_of(asked=LAX, baseline=None, candidate=None):
    requested = request().model_copy(update={"requirements": Requirements(**asked)})

    async def run(spec, deadline_seconds, after_step):
        return detected(spec, **(candidate if spec.precision != "fp32" else baseline) or {})

    return make_report("id", await compare(comparison(requested), run, lambda progress: None))


def requirement(report, metric):
    (found,) = [one for one in report.comparisons[0].requirements if one.metric == metric]
    return found


async def test_each_metric_named_is_judged_by_its_own_threshold():
    asked = LAX | {"max_metric_differences": {"mean_iou": 0.01, "box_error": 3.0, "recall": 0.1}}
    report = await report_of(asked, candidate={"mean_iou": 0.3})
    assert [requirement(report, name).status for name in ("mean_iou", "box_error", "recall")] == [
        "fail",
        "pass",
        "pass",
    ]
    assert requirement(report, "mean_iou").measured == report.comparisons[0].metric_differences["mean_iou"]
    assert report.reasons == ["bf16: a difference of mean iou below 0.01 is required, and not met"]
    assert "max_metric_differences.mean_iou" in csv_of(report, "requirement")


async def test_a_metric_that_was_not_learned_is_inconclusive_and_says_so():
    unlearned = {"box_error": 39.5}
    report = await report_of(
        LAX | {"max_metric_differences": {"box_error": 3.0}}, baseline=unlearned, candidate=unlearned
    )
    assert (requirement(report, "box_error").status, report.verdict) == ("inconclusive", "inconclusive")
    assert "gain over chance is 0.48" in report.reasons[0]
    assert report.baseline.gains_over_chance["box_error"].value == pytest.approx(0.48, abs=0.01)


async def test_only_a_share_of_predictions_has_their_sampling_error():
    report = await report_of()
    share, mean = (report.comparisons[0].metric_differences[name] for name in ("recall", "mean_iou"))
    assert share.ci_high == 1 / 1000  # one prediction
    assert mean.ci_high == 0


async def test_the_default_on_accuracy_is_off_for_a_task_without_one_and_nothing_judges_quality():
    report = await report_of()
    (accuracy,) = [one for one in report.comparisons[0].requirements if one.name == "max_accuracy_difference"]
    assert (accuracy.threshold, accuracy.status) == (None, "off")
    (warning,) = [one for one in report.warnings if "judges what the models learned" in one]
    assert "max_metric_differences (mean_iou, box_error, recall)" in warning
    assert "accuracy" not in warning


async def test_a_report_with_a_requirement_on_a_metric_has_no_such_warning():
    report = await report_of(LAX | {"max_metric_differences": {"recall": 0.1}})
    assert not [one for one in report.warnings if "judges what the models learned" in one]


def csv_of(report, section):
    rows = csv.DictReader(io.StringIO(to_csv(report)))
    return {row["name"]: row for row in rows if row["section"] == section}


async def test_every_format_lists_every_metric_in_its_unit():
    report = await report_of()
    rows = csv_of(report, "comparison")
    assert rows["box_error_difference"]["unit"] == "px"
    assert csv_of(report, "leg")["validation_loss"]["unit"] == ""
    assert "validation_accuracy" not in csv_of(report, "leg")
    assert "metric_spreads.recall" in csv_of(report, "noise_floor")
    text = to_markdown(report)
    assert "Box error (px)" in text
    assert "Mean IoU difference" in text
    assert "nats" not in text
    assert "nats" not in svg(loss(report))
    assert "trains to the same mean IoU within noise" in headline(report)
    assert "Best possible result on this data: mean IoU 1, box error 2 px." in context_lines(report)


async def test_trackers_get_every_metric():
    report = await report_of(LAX | {"max_metric_differences": {"recall": 0.1}})
    record = record_of(report, {})
    assert record.figures["bf16/validation_metrics/box_error"] == pytest.approx(12.006)
    assert record.figures["bf16/metric_differences/recall"] == 0
    assert record.words["bf16/max_metric_differences.recall"] == "pass"


async def test_an_event_of_a_trial_has_every_metric():
    seen = []

    async def run(spec, deadline_seconds, after_step):
        made = detected(spec)
        seen.append(after_trial(spec, made))
        return made

    await compare(comparison(request()), run, lambda progress: None)
    assert [(metric.name, metric.unit) for metric in seen[0].metrics] == [(one.name, one.unit) for one in METRICS]
    assert (seen[0].metric("loss"), seen[0].metric("box_error"), seen[0].metric("other")) == (1.0, 12.0, None)


async def test_a_report_of_an_earlier_release_has_the_figures_of_a_classification():
    report = await report_of()
    stored = json.loads(report.model_dump_json())
    stored["data"]["metrics"] = []
    read = Report.model_validate(stored)
    assert leg_figures(read.data)["validation_loss"].unit == "nats"
    assert trial_figures(None)["validation_accuracy"].heading == "Validation accuracy"
    assert list(comparison_figures(None)) == [
        "speedup",
        "training_time_ratio",
        "memory_reduction_percent",
        "accuracy_difference",
        "loss_difference",
    ]
