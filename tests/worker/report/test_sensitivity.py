"""Legs that learned nothing are equal as well: a tolerance is met only where a difference could have shown."""

import json

import pytest

from app.reports.text.wording import headline
from halftime.contract.models import TransformerSpec
from halftime.contract.report.metrics import MetricFacts
from halftime.contract.request.request import Requirements
from tests.factories import comparison, request, trial
from worker.comparison.blocks import compare
from worker.report.build import make_report
from worker.trial.run import run_trial

pytestmark = pytest.mark.anyio

#: Four balanced classes, and what the best model reaches.
FACTS = {
    "loss": {"unit": "nats", "better": "lower", "chance": 1.386, "best_possible": 0.5},
    "accuracy": {"unit": "", "better": "higher", "chance": 0.25, "best_possible": 0.9, "is_share": True},
}
LAX = {"min_speedup": None, "min_memory_reduction_percent": None}


def metrics(facts):
    return [MetricFacts(name=name, title=name, **of) for name, of in facts.items()]


async def report_of(simulate, facts=FACTS, blocks=2, predictions=4096, **tolerances):
    asked = request(measurement={"min_blocks": blocks, "max_blocks": blocks})
    asked = asked.model_copy(update={"requirements": Requirements(**LAX | tolerances)})

    async def run(spec, deadline_seconds, after_step):
        made = simulate(spec)
        data = made.data.model_copy(update={"metrics": metrics(facts)})
        counts = {"loss": predictions, "accuracy": predictions}
        return made.model_copy(update={"data": data, "validation_counts": counts})

    return make_report("id", await compare(comparison(asked), run, lambda progress: None))


def reaching(accuracy, loss=1.0, worse=0.0):
    """Trials with an accuracy that varies by a thousandth from block to block, and a candidate that is worse."""

    def simulate(spec):
        half = spec.precision != "fp32"
        return trial(spec, accuracy=accuracy + 0.001 * (spec.block % 2) - half * worse, loss=loss + half * worse)

    return simulate


def status(report, name="max_accuracy_difference"):
    (found,) = report.comparisons
    (requirement,) = [one for one in found.requirements if one.name == name]
    return requirement.status


async def test_equal_accuracies_at_chance_are_inconclusive_and_say_how_to_learn_more():
    report = await report_of(reaching(0.25))
    assert (status(report), report.verdict) == ("inconclusive", "inconclusive")
    (reason,) = report.reasons
    assert "a leg that learned nothing might meet it too. Use more steps or a higher learning rate" in reason
    assert "trains too little to compare accuracies: inconclusive" in headline(report)


async def test_equal_accuracies_far_above_chance_pass():
    report = await report_of(reaching(0.6))
    assert (status(report), report.verdict) == ("pass", "pass")
    assert "trains to the same accuracy" in headline(report)
    gain = report.baseline.gains_over_chance["accuracy"]
    assert 0.3 < gain.ci_low < gain.value == pytest.approx(0.3505)


async def test_a_difference_that_shows_is_a_fail_however_little_was_learned():
    report = await report_of(reaching(0.25, worse=0.1))
    assert status(report) == "fail"


async def test_a_gain_as_large_as_the_tolerance_does_not_suffice():
    assert status(await report_of(reaching(0.4), max_accuracy_difference=0.2)) == "inconclusive"
    assert status(await report_of(reaching(0.4), max_accuracy_difference=0.1)) == "pass"


async def test_a_gain_that_is_unsure_asks_for_more_samples():
    def simulate(spec):
        return trial(spec, accuracy=0.27 + 0.02 * (spec.block % 2))

    report = await report_of(simulate)
    assert status(report) == "inconclusive"
    assert "Use more validation samples or blocks" in report.reasons[0]


async def test_a_tolerance_beyond_the_best_possible_model_says_so():
    facts = FACTS | {"accuracy": FACTS["accuracy"] | {"best_possible": 0.3}}
    report = await report_of(reaching(0.28), facts, max_accuracy_difference=0.2)
    assert "No model can get beyond chance by more than 0.05 here: lower max_accuracy_difference" in report.reasons[0]


async def test_a_loss_is_judged_by_what_was_learned_of_it():
    tolerances = {"max_accuracy_difference": None, "max_loss_difference": 0.05}
    assert status(await report_of(reaching(0.6, loss=1.0), **tolerances), "max_loss_difference") == "pass"
    report = await report_of(reaching(0.25, loss=1.36), **tolerances)
    assert status(report, "max_loss_difference") == "inconclusive"
    assert report.baseline.gains_over_chance["loss"].value == pytest.approx(0.026)


async def test_nothing_is_said_where_chance_is_unknown():
    unknown = {name: facts | {"chance": None} for name, facts in FACTS.items()}
    report = await report_of(reaching(0.25), facts=unknown)
    assert (status(report), report.baseline.gains_over_chance) == ("pass", {})


async def test_too_few_predictions_for_the_tolerance_are_named():
    report = await report_of(reaching(0.75), predictions=64)
    assert status(report) == "inconclusive"
    assert "One of 64 held-out predictions is as much: use more validation_samples" in report.reasons[0]


async def test_one_prediction_is_of_those_that_were_made():
    report = await report_of(reaching(0.75), predictions=16)
    difference = report.comparisons[0].accuracy_difference
    assert difference.ci_high - difference.signed_mean == 1 / 16


async def test_a_report_of_an_earlier_release_is_read_without_what_was_learned():
    report = await report_of(reaching(0.6))
    stored = json.loads(report.model_dump_json())
    for leg in (stored["baseline"], stored["comparisons"][0]["candidate"]):
        del leg["gains_over_chance"]
    read = type(report).model_validate(stored)
    assert "trains to the same accuracy" in headline(read)


async def test_a_large_vocabulary_after_eight_steps_is_inconclusive():
    """Real trials: neither leg learns anything of 4096 tokens in eight steps."""
    asked = request(training={"batch_size": 1, "steps": 8, "warmup_steps": 2, "validation_samples": 32})
    model = TransformerSpec(vocab_size=4096, hidden_size=32, num_layers=2, num_heads=2, sequence_length=8)
    asked = asked.model_copy(update={"model": model, "requirements": Requirements(**LAX)})

    async def run(spec, deadline_seconds, after_step):
        return run_trial(spec, after_step)

    report = make_report("id", await compare(comparison(asked), run, lambda progress: None))
    assert (status(report), report.verdict) == ("inconclusive", "inconclusive")
    assert report.baseline.trials[0].validation_counts["accuracy"] == 32 * 8
