"""What a plugin's task raises or returns wrongly is said with its method, before training where it can be found."""

import math

import pytest
import torch
from torch import nn

from halftime.contract.models import PluginSpec
from halftime.contract.request.data import PluginData, SyntheticData
from halftime.contract.request.training import TrainingConfig
from halftime.plugin import LOSS, Blueprint, Metric, TrainingTask
from worker.data import make_source
from worker.errors import TrialFailed
from worker.messages import Inspection, TrialSpec
from worker.models import blueprint_of
from worker.tasks.plugin import PluginTask
from worker.trial import inspection
from worker.trial.run import run_trial

MODEL = PluginSpec(name="own")
TRIAL = TrialSpec(
    device="cpu",
    precision="bf16",
    block=0,
    position=0,
    model=MODEL,
    training=TrainingConfig(batch_size=8, steps=3, warmup_steps=1, validation_samples=8, gradient_accumulation=2),
)


class Numbers:
    """Random vectors; fields of a faulty source replace its own."""

    best_possible_loss = None
    best_possible_accuracy = None
    sample_bytes = 16

    def __init__(self, **faults):
        vars(self).update(faults)

    def sample(self, part, count, generator):
        return torch.randn(count, 4, generator=generator)


class Reconstruction(TrainingTask):
    """Mean squared error of a vector's reconstruction."""

    reported = (LOSS, Metric("mean_absolute_error", "lower"))

    def loss(self, model, batch):
        return (model(batch) - batch).square().mean()

    def metrics(self, model, batch):
        off = model(batch) - batch
        return {"loss": (off.square().sum(), off.numel()), "mean_absolute_error": (off.abs().sum(), off.numel())}

    def source(self, seed):
        return Numbers()


def raising(*_):
    raise KeyError("mine")


def returning(value):
    return lambda *_: value


def measuring(**measured):
    return returning({"loss": (1.0, 2), "mean_absolute_error": (1.0, 2)} | measured)


@pytest.fixture
def plugin(monkeypatch):
    """Makes the plugin of the request one whose task has these attributes."""

    def install(**attributes):
        task = type("Faulty", (Reconstruction,), attributes)()
        blueprint = Blueprint(task, lambda: nn.Linear(4, 4))
        monkeypatch.setattr("worker.models.plugin.load", lambda *_: lambda: blueprint)
        return task

    monkeypatch.setattr(inspection, "_limit_memory", lambda: None)
    return install


def failure(act):
    with pytest.raises(TrialFailed) as caught:
        act()
    return caught.value.failure.code, caught.value.failure.detail


def inspected():
    inspection.inspect_model(Inspection(device="cpu", model=MODEL, data=SyntheticData(), seed=0, metrics=[]))


def trained():
    return run_trial(TRIAL, lambda step: None)


def test_a_task_without_a_fault_trains(plugin):
    plugin()
    inspected()
    assert trained().validation_metrics.keys() == {"mean_absolute_error"}


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"source": raising}, "failed in `source` of its task. KeyError: 'mine'"),
        ({"source": returning(7)}, "of model plugin 'own' must return a halftime.plugin.Source. AttributeError"),
        ({"source": returning(Numbers(sample=raising))}, "could not draw training samples. KeyError: 'mine'"),
        ({"source": returning(Numbers(sample_bytes=math.nan))}, "must return a halftime.plugin.Source. ValueError"),
        ({"source": returning(Numbers(chance={"loss": math.inf}))}, "a best possible value or a chance is inf"),
        ({"predictions": raising}, "failed in `predictions` of its task. KeyError: 'mine'"),
        ({"predictions": returning(-3)}, "it is -3, not a finite number of 0 or more"),
        ({"predictions": returning(math.nan)}, "it is nan, not a finite number of 0 or more"),
        ({"predictions": returning(torch.tensor(math.inf))}, "it is inf, not a finite number of 0 or more"),
        ({"predictions": returning("many")}, "it is a str, not a finite number of 0 or more"),
        ({"predictions": returning(torch.ones(2))}, "it is a tensor of the shape (2,), not a finite number"),
        ({"shape": (4,)}, "must have a shape of halftime.plugin as `shape` of its task, or None, not (4,)"),
        ({"shape": property(raising)}, "failed in `shape` of its task. KeyError: 'mine'"),
        ({"reported": (LOSS, Metric("gain", "up"))}, "must list metrics in `reported`. ValidationError"),
        ({"reported": (LOSS, Metric("gain", "higher", best=math.nan))}, "`best` of 'gain' is nan, not a finite number"),
        ({"reported": (LOSS, Metric("gain", "higher", chance="no"))}, "must list metrics in `reported`"),
    ],
)
def test_a_fault_that_shows_before_training_refuses_the_model(plugin, attributes, said):
    plugin(**attributes)
    code, detail = failure(inspected)
    assert code == "invalid_model"
    assert "plugin 'own'" in detail
    assert said in detail


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"chance": raising}, "failed in `chance` of its task. KeyError: 'mine'"),
        ({"chance": returning({"loss": math.nan})}, "of 'loss', it is nan, not a finite number"),
        ({"chance": returning({"loss": "low"})}, "of 'loss', it is 'low', not a finite number"),
        ({"chance": returning({"recall": 0.5})}, "it has recall, which `reported` does not name"),
        ({"chance": returning(0.5)}, "failed in `chance` of its task. TypeError"),
        ({"predictions_per_sample": property(raising)}, "failed in `predictions_per_sample` of its task. KeyError"),
        ({"predictions_per_sample": 0}, "it is 0, not a finite number above 0"),
        ({"predictions_per_sample": -1}, "it is -1, not a finite number above 0"),
        ({"predictions_per_sample": math.nan}, "it is nan, not a finite number above 0"),
        ({"predictions_per_sample": "4"}, "it is '4', not a finite number above 0"),
    ],
)
def test_a_fault_of_a_task_and_its_data_refuses_the_model(plugin, attributes, said):
    plugin(**attributes)
    code, detail = failure(trained)
    assert code == "invalid_model"
    assert "The model plugin 'own' failed in" in detail
    assert said in detail


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (raising, "KeyError: 'mine'"),
        (returning(0.5), "it returned 0.5, not a mapping of names to a sum and a count"),
        (returning({"loss": (1.0, 2)}), "it lacks mean_absolute_error, which `reported` names"),
        (measuring(mean_absolute_error=0.5), "'mean_absolute_error' is 0.5, not a sum and a count"),
        (measuring(mean_absolute_error=("1", 2)), "the sum of 'mean_absolute_error' is a str, not a number"),
        (measuring(mean_absolute_error=(torch.ones(3), 2)), "is a tensor of the shape (3,), not a number"),
        (measuring(mean_absolute_error=(math.nan, 2)), "the sum of 'mean_absolute_error' is nan, though the loss"),
        (measuring(mean_absolute_error=(1.0, math.nan)), "the count of 'mean_absolute_error' is nan, not a finite"),
        (measuring(mean_absolute_error=(1.0, torch.tensor(-2))), "the count of 'mean_absolute_error' is -2"),
        (measuring(loss=(1.0, math.inf)), "the count of 'loss' is inf, not a finite number of 0 or more"),
        (measuring(loss=(1.0, None)), "the count of 'loss' is None, not a finite number of 0 or more"),
    ],
)
def test_a_fault_of_metrics_is_one_of_the_validation(plugin, metrics, said):
    plugin(metrics=metrics)
    code, detail = failure(trained)
    assert code == "training_failed"
    assert "bf16: the validation failed in `metrics` of the task of plugin 'own'. " in detail
    assert said in detail


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"predictions": raising}, "failed in `predictions` of the task of plugin 'own'. KeyError: 'mine'"),
        ({"predictions": returning(0)}, "it returned 0 for a part of a batch; lower `gradient_accumulation`"),
        ({"loss": raising}, "failed in `loss` of the task of plugin 'own'. KeyError: 'mine'"),
    ],
)
def test_a_fault_of_a_step_names_the_method(plugin, attributes, said):
    plugin(**attributes)
    code, detail = failure(trained)
    assert code == "training_failed"
    assert "bf16: the forward pass of step 1 failed in" in detail
    assert said in detail


def test_a_model_that_diverged_is_no_fault_of_its_metrics(plugin):
    plugin(metrics=measuring(loss=(math.nan, 2), mean_absolute_error=(math.inf, 2)))
    assert trained().validation_loss is None


def test_a_task_without_synthetic_data_asks_for_a_data_plugin(plugin):
    plugin(source=TrainingTask.source)
    code, detail = failure(inspected)
    assert (code, "Name a data plugin" in detail) == ("invalid_data", True)


def test_a_data_plugin_is_called_with_the_plugin_s_own_task(plugin, monkeypatch):
    task, called_with = plugin(), []
    monkeypatch.setattr("worker.data.plugin.load", lambda *_: lambda own, seed: called_with.append(own) or Numbers())
    wrapped = blueprint_of(MODEL).task
    make_source(wrapped, PluginData(name="data"), 0)
    assert isinstance(wrapped, PluginTask)
    assert called_with == [task]
