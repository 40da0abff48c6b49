"""Any task: metrics do not depend on how held-out data is split, nor gradients on how a batch is."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from halftime.contract.request.training import TrainingConfig
from halftime.plugin import LOSS, Metric, TrainingTask, Vectors
from worker.data.batches import first_samples, map_tensors, split
from worker.tasks.cross_entropy import CrossEntropy
from worker.training.loop import add_gradients, prepare, validate
from worker.training.precision import PRECISIONS

SIZE = 4


@dataclass(frozen=True)
class MaskedRegression(TrainingTask):
    """Mean squared error of the targets that a mask names, so that samples differ in their number of predictions."""

    reported = (LOSS, Metric("mean_absolute_error", "lower"), Metric("share_near", "higher", is_share=True))

    def loss(self, model, batch):
        off = model(*batch["inputs"]) - batch["targets"]
        return (off**2 * batch["mask"]).sum() / self.predictions(batch)

    def metrics(self, model, batch):
        count = self.predictions(batch)
        off = (model(*batch["inputs"]) - batch["targets"]).abs() * batch["mask"]
        return {
            "loss": (self.loss(model, batch) * count, count),
            "mean_absolute_error": (off.sum(), count),
            "share_near": (((off < 1) & batch["mask"]).sum(), count),
        }

    def predictions(self, batch):
        return batch["mask"].sum()


class TwoInputs(nn.Module):
    """The sum of two inputs, each through a layer of its own."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE)

    def forward(self, one, other):
        return self.one(one) + self.other(other)


def data(seed, samples):
    """Masked targets, at least one of every sample."""
    generator = torch.Generator().manual_seed(seed)
    one, other, targets = torch.randn(3, samples, SIZE, generator=generator)
    mask = torch.rand(samples, SIZE, generator=generator) < torch.rand(samples, 1, generator=generator)
    mask[:, 0] = True
    return {"inputs": (one, other), "targets": targets, "mask": mask}


def parts_of(batch, sizes):
    """The batch in parts of these sizes."""
    sizes = [*sizes, len(batch["targets"]) - sum(sizes)]
    bounds = [sum(sizes[:place]) for place in range(len(sizes) + 1)]
    return [
        map_tensors(lambda tensor, low=low, high=high: tensor[low:high], batch)
        for low, high in itertools.pairwise(bounds)
        if high > low
    ]


@given(st.integers(0, 2**31), st.lists(st.integers(1, 8), max_size=4))
@settings(max_examples=50, deadline=None)
def test_metrics_are_those_of_all_held_out_predictions_however_they_are_split(seed, sizes):
    torch.manual_seed(0)
    model, task, batch = TwoInputs(), MaskedRegression(), data(seed, 33)
    whole, parts = validate(model, task, [batch]), validate(model, task, parts_of(batch, sizes))
    assert parts.values == pytest.approx(whole.values, rel=1e-5)
    assert parts.counts == whole.counts == dict.fromkeys(whole.values, float(batch["mask"].sum()))


@given(st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_gradients_are_those_of_the_whole_batch_however_it_is_accumulated(seed):
    batch = data(seed, 12)

    def gradients(parts):
        torch.manual_seed(0)
        config = TrainingConfig(batch_size=12, steps=2, warmup_steps=1, gradient_accumulation=parts)
        run = prepare(TwoInputs(), MaskedRegression(), PRECISIONS["fp32"], config, torch.device("cpu"))
        loss = add_gradients(run, batch)
        return torch.cat([loss.flatten(), *(parameter.grad.flatten() for parameter in run.parameters)])

    for parts in (2, 3, 12):
        assert torch.allclose(gradients(parts), gradients(1), rtol=1e-4, atol=1e-6)


@given(st.integers(0, 2**31), st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_a_classification_s_metrics_do_not_depend_on_the_batches(seed, size):
    torch.manual_seed(seed)
    model, task = nn.Linear(SIZE, 3), CrossEntropy(Vectors(SIZE, 3))
    batch = (torch.randn(40, SIZE), torch.randint(3, (40,)))
    found, whole = validate(model, task, split(batch, size)).values, validate(model, task, [batch]).values
    assert found == pytest.approx(whole, rel=1e-5)
    right = (model(batch[0]).argmax(1) == batch[1]).float().mean().item()
    direct = functional.cross_entropy(model(batch[0]), batch[1]).item()
    assert whole == pytest.approx({"loss": direct, "accuracy": right}, rel=1e-5)


def test_a_metric_without_any_prediction_is_not_finite():
    batch = data(0, 3) | {"mask": torch.zeros(3, SIZE, dtype=torch.bool)}
    values = validate(TwoInputs(), MaskedRegression(), [first_samples(batch, 2)]).values
    assert all(map(math.isnan, values.values()))
