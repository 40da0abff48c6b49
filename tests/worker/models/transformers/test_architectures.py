"""Every offered pair of task and architecture trains in FP32 and BF16 at toy size, or is refused with a known reason.

Takes about an hour on two cores, so it runs only on request: `make architectures`.
"""

import gc

import pytest
import torch

from halftime.contract.models import TransformersSpec
from testing.architectures.outcome import TRAINS, outcome
from testing.architectures.toys import PAIRS, toy
from worker.models import blueprint_of

pytestmark = pytest.mark.architectures

#: The beginning of the reason, by architecture.
REFUSED = {
    "dinat": "refused: model.model_type: this architecture needs the package natten",
    "gemma3n": "refused: model.model_type: this architecture needs the package ",
    "layoutlmv2": "refused: model.model_type: this architecture needs the package detectron2",
    "timm_wrapper": "refused: model.model_type: this architecture needs the package ",
}

#: Operations of the library that autocast does not run, though FP32 does: the answer that a benchmark gives too.
FAILS_UNDER_AUTOCAST = {
    "dbrx": "bf16 failed: TrialFailed: bf16: the forward pass of step 1 failed in ",
    "deberta": "bf16 failed: TrialFailed: bf16: the forward pass of step 1 failed in ",
    "xmod": "bf16 failed: TrialFailed: bf16: the forward pass of step 1 failed in ",
}

#: Layers within an autograd function of their own, which torch's `MemTracker` does not follow.
NOT_EXAMINED = {"reformer": "fp32 not examined: memory_breakdown ("}

EXCEPTIONS = REFUSED | FAILS_UNDER_AUTOCAST | NOT_EXAMINED


@pytest.mark.parametrize(("task", "model_type"), PAIRS, ids=str)
def test_an_offered_pair_trains(task, model_type):
    result = outcome(toy(task, model_type))
    gc.collect()
    assert result.startswith(EXCEPTIONS.get(model_type, TRAINS))


CAUSAL = [model_type for task, model_type in PAIRS if task == "causal-lm" and model_type not in REFUSED]


@pytest.mark.parametrize("model_type", CAUSAL)
def test_a_causal_architecture_does_not_see_what_it_is_to_predict(model_type):
    torch.manual_seed(0)
    model = blueprint_of(TransformersSpec(**toy("causal-lm", model_type))).build().eval()
    tokens = torch.randint(1, 60, (2, 16))
    other = torch.cat([tokens[:, :-1], tokens[:, -1:] + 1], dim=1)
    with torch.no_grad():
        assert torch.allclose(model(tokens)[:, :-1], model(other)[:, :-1], atol=1e-4)
