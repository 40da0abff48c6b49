"""A number of outputs that a task does not use is refused at its field, but opens in what was accepted before."""

import pytest
from pydantic import TypeAdapter, ValidationError

from halftime.contract.models import ModelSpec
from halftime.contract.request.request import BenchmarkRequest, stored_request
from halftime.contract.resources.sweep import stored_sweep

LINEAR = {"kind": "layers", "input_shape": [4], "layers": [{"type": "linear", "out_features": 3}]}
TOKENS = {
    "kind": "layers",
    "task": "causal-lm",
    "input_shape": [4],
    "vocab_size": 8,
    "layers": [{"type": "embedding", "embedding_dim": 4}, {"type": "linear", "out_features": 8}],
}

UNUSED = [
    ({"kind": "mlp", "task": "regression", "num_targets": 3}, "num_classes", "num_targets"),
    ({"kind": "mlp", "num_classes": 3}, "num_targets", "num_classes"),
    ({**LINEAR, "task": "regression", "num_targets": 3}, "num_classes", "num_targets"),
    ({**LINEAR, "num_classes": 3}, "num_targets", "num_classes"),
    (TOKENS, "num_classes", "vocab_size"),
    (TOKENS, "num_targets", "vocab_size"),
]


@pytest.mark.parametrize(("model", "unused", "used"), UNUSED)
def test_a_count_of_another_task_is_refused_at_its_field(model, unused, used):
    BenchmarkRequest.model_validate({"model": model})
    with pytest.raises(ValidationError) as caught:
        BenchmarkRequest.model_validate({"model": {**model, unused: 7}})
    (fault,) = caught.value.errors()
    assert fault["loc"][-1] == unused
    assert f"does not use {unused}; its number of outputs is {used}" in fault["msg"]


@pytest.mark.parametrize(("model", "unused", "used"), UNUSED)
def test_a_request_that_was_stored_with_it_opens_without_it(model, unused, used):
    stored = BenchmarkRequest.model_validate({"model": model}).model_dump(mode="json")
    wanted = stored_request(stored)
    assert getattr(wanted.model, unused) != 7
    stored["model"][unused] = 7
    assert stored_request(stored) == wanted
    assert stored_sweep({"request": stored, "vary": {"models": [stored["model"]]}}).request == wanted


@pytest.mark.parametrize(("model", "unused", "used"), UNUSED)
def test_a_request_that_was_read_back_can_be_posted_again(model, unused, used):
    model = TypeAdapter(ModelSpec).validate_python(model).model_dump(mode="json")
    assert unused in model
    BenchmarkRequest.model_validate({"model": model})
