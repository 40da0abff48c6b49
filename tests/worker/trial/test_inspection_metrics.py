"""A requirement on a metric that the model's task lacks is refused: at submission where that is known, else at once."""

import pytest
from pydantic import ValidationError

from halftime.contract.report.failure import FailureCode
from halftime.contract.request.data import SyntheticData
from halftime.contract.request.request import BenchmarkRequest, Requirements, stored_request
from worker.errors import TrialFailed
from worker.messages import Inspection
from worker.trial import inspection

PLUGIN = {"kind": "plugin", "name": "anything"}


def refused(**requirements):
    with pytest.raises(ValidationError) as caught:
        BenchmarkRequest.model_validate({"model": {"kind": "mlp"}, "requirements": requirements})
    (fault,) = caught.value.errors()
    return fault


@pytest.mark.parametrize(("name", "own"), [("loss", "max_loss_difference"), ("accuracy", "max_accuracy_difference")])
def test_loss_and_accuracy_have_requirements_of_their_own(name, own):
    assert own in refused(max_metric_differences={name: 0.1})["msg"]


def test_a_model_that_classifies_has_no_further_metrics():
    fault = refused(max_metric_differences={"mean_iou": 0.1})
    assert fault["type"] == "unknown_metric"
    assert "max_loss_difference and max_accuracy_difference" in fault["msg"]


@pytest.mark.parametrize("name", ["Mean IoU", "", "1st", "x" * 64])
def test_a_name_that_no_metric_can_have_is_refused(name):
    refused(max_metric_differences={name: 0.1})


def test_a_plugin_may_have_any_metric():
    wanted = {"max_metric_differences": {"mean_iou": 0.1}}
    asked = BenchmarkRequest.model_validate({"model": PLUGIN, "requirements": wanted})
    assert asked.requirements.metrics() == ["mean_iou"]


def test_a_chosen_threshold_on_accuracy_is_told_from_the_default_after_storage():
    """What was read back and is posted again states the default, which is no choice."""
    for requirements, chosen in (({}, []), ({"max_accuracy_difference": 0.02}, ["accuracy"])):
        asked = BenchmarkRequest.model_validate({"model": PLUGIN, "requirements": requirements})
        read = stored_request(asked.model_dump(mode="json"))
        assert read == asked
        assert read.requirements.metrics() == chosen


def test_the_default_on_accuracy_is_off_where_there_is_none():
    assert Requirements().of_task(["loss"]).max_accuracy_difference is None
    assert Requirements().of_task(["loss", "accuracy"]).max_accuracy_difference == 0.01
    assert Requirements(max_accuracy_difference=0.02).of_task(["loss"]).max_accuracy_difference == 0.02


def test_the_worker_names_the_metrics_there_are(monkeypatch):
    monkeypatch.setattr(inspection, "_limit_memory", lambda: None)
    model = BenchmarkRequest.model_validate({"model": {"kind": "mlp"}}).model
    asked = Inspection(device="cpu", model=model, data=SyntheticData(), seed=0, metrics=["accuracy", "mean_iou"])
    with pytest.raises(TrialFailed) as caught:
        inspection.inspect_model(asked)
    failure = caught.value.failure
    assert (failure.code, failure.retryable) == (FailureCode.UNKNOWN_METRIC, False)
    assert "does not measure mean_iou" in failure.detail
    assert "loss, accuracy" in failure.detail
