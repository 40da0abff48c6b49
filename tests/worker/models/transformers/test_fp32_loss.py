"""The library's loss is computed in FP32 for a model that is held in BF16, and left alone in every other leg."""

import pytest
import torch
from torch import nn

from halftime.contract.models import TransformersSpec
from halftime.contract.precisions import PrecisionName
from halftime.contract.request.training import TrainingConfig
from testing.architectures.toys import toy
from worker.data.source import seeded
from worker.messages import TrialSpec
from worker.models import blueprint_of
from worker.models.transformers.fp32_loss import compute_loss_in_fp32
from worker.training.held import called_in
from worker.trial.run import run_trial

DETECTORS = [("detr", name) for name in ("fp32", "bf16", "fp16", "bf16-true")] + [
    (model_type, "bf16-true") for model_type in ("conditional_detr", "table-transformer")
]


class Spy(nn.Module):
    """A model with the library's interface, whose loss keeps the floats that it is given."""

    loss_type = "ForObjectDetection"

    def loss_function(self, *outputs, **named_outputs):
        self.given = outputs, named_outputs


@pytest.fixture
def spy():
    model = Spy()
    compute_loss_in_fp32(model)
    return model


def given_of(spy, dtype):
    """The dtypes of what a loss is given, for outputs of a dtype, nested as those of a detector are."""
    boxes = torch.ones(2, dtype=dtype)
    spy.loss_function(boxes, [{"classes": torch.arange(2)}], "cpu", None, auxiliary=({"boxes": boxes},))
    (first, labels, device, nothing), named = spy.given
    assert (device, nothing, labels[0]["classes"].dtype) == ("cpu", None, torch.int64)
    return {first.dtype, named["auxiliary"][0]["boxes"].dtype}


@pytest.mark.parametrize(
    ("held", "given"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_a_loss_is_given_fp32_at_least(spy, held, given):
    assert given_of(spy, held) == {given}


def test_autocast_chooses_the_dtypes_of_a_loss(spy):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert given_of(spy, torch.bfloat16) == {torch.bfloat16}


def test_gradients_pass_through_the_cast(spy):
    boxes = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    spy.loss_function(boxes)
    spy.given[0][0].sum().backward()
    assert boxes.grad.tolist() == [1, 1]


def test_a_model_that_computes_its_loss_itself_stays_as_it_is():
    model = nn.Linear(1, 1)
    compute_loss_in_fp32(model)
    assert not hasattr(model, "loss_function")


def test_boxes_are_not_rounded_on_their_way_to_the_loss():
    task = blueprint_of(TransformersSpec(**toy("object-detection", "detr"))).task
    batch = task.source(0).sample("training", 2, seeded("training", 0))
    given = {}
    task.run(called_in(torch.bfloat16, lambda **inputs: given.update(inputs)), batch)
    assert given["pixel_values"].dtype is torch.bfloat16
    assert all(torch.equal(one["boxes"], boxes) for one, boxes in zip(given["labels"], batch["boxes"], strict=True))


@pytest.mark.parametrize(("model_type", "precision"), DETECTORS)
def test_a_detector_trains_and_is_examined(model_type: str, precision: PrecisionName):
    training = TrainingConfig(batch_size=2, steps=2, warmup_steps=1, validation_samples=4)
    model = TransformersSpec(**toy("object-detection", model_type))
    spec = TrialSpec(
        device="cpu", precision=precision, block=0, position=0, model=model, training=training, examined=True
    )
    result = run_trial(spec, lambda step: None)
    lowered = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "bf16-true": "bfloat16"}[precision]
    assert {dtype for dtypes in result.attestation.forward_dtypes.values() for dtype in dtypes} == {lowered}
    assert set(result.attestation.held_dtypes["weights"]) == {"bfloat16" if precision == "bf16-true" else "float32"}
    assert all(probe.ok for probe in result.attestation.probes)
    assert result.not_examined == {}
    assert all(loss > 0 for loss in result.loss_curve)
