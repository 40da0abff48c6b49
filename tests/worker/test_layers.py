"""Lists of layers: what is inferred without torch is what torch does, and what does not fit is named."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from app.contract.failure import FailureCode
from app.contract.models import LayersSpec
from app.contract.request import BenchmarkRequest, TrainingConfig
from tests.factories import data_of
from tests.layer_lists import ANY_MODEL, LAYERS, fitting_models, input_of, parsed
from worker.data.shapes import CausalTokens, ClassifiedTokens, Images, Vectors
from worker.device import TrialFailed
from worker.messages import TrialSpec
from worker.models import blueprint_of, build_model
from worker.models.layers import BUILDERS, Recurrent, build_layers
from worker.precision import PRECISIONS
from worker.training import prepare, training_step
from worker.trial import run_trial

CPU = torch.device("cpu")
PROPERTY = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))


def meta_inputs(model, samples=2):
    dtype = torch.int64 if model.get("vocab_size") else torch.float32
    return torch.empty(samples, *model["input_shape"], dtype=dtype, device="meta")


def run_on_meta(model, layers):
    with torch.device("meta"):
        module = build_layers(parsed(layers), input_of(model))
    return module, module(meta_inputs(model))


def layers_before(layers, path):
    """The layers that lie between the input and the layer at a path, those of blocks around it left behind."""
    if not path:
        return []
    index, *deeper = path
    before, layer = layers[:index], layers[index]
    if not deeper:
        return before
    if deeper[0] == "layers":
        return before + layers_before(layer["layers"], deeper[1:])
    return before + layers_before(layer["branches"][deeper[1]], deeper[2:])


@PROPERTY
@given(fitting_models())
def test_an_accepted_model_has_the_counted_parameters_and_the_inferred_shape(model):
    spec = LayersSpec.model_validate(model)
    module, logits = run_on_meta(model, model["layers"])
    assert sum(parameter.numel() for parameter in module.parameters()) == spec.parameter_count()
    wanted = (*model["input_shape"], spec.vocab_size) if spec.task == "causal-lm" else (3,)
    assert logits.shape == (2, *wanted)


@PROPERTY
@given(fitting_models())
def test_every_layer_puts_out_the_inferred_shape(model):
    spec = LayersSpec.model_validate(model)
    hidden, shape = meta_inputs(model), spec.first_shape
    for layer in spec.layers:
        with torch.device("meta"):
            hidden = build_layers([layer], shape)(hidden)
        shape = layer.fit(shape)
        assert hidden.shape == (2, *shape.sizes)


@PROPERTY
@given(ANY_MODEL)
def test_any_list_is_accepted_or_refused_at_a_layer_up_to_which_torch_runs(model):
    try:
        LayersSpec.model_validate(model)
    except ValidationError as error:
        (fault,) = error.errors()
        place, *path = fault["loc"]
        assert place == "layers"
        run_on_meta(model, layers_before(model["layers"], path))
    else:
        run_on_meta(model, model["layers"])


#: None of them fits anywhere but behind what it names.
NEVER_FITS = [
    {"type": "embedding", "embedding_dim": 2},
    {"type": "conv2d", "out_channels": 2, "kernel_size": 1000},
    {"type": "conv1d", "out_channels": 2, "kernel_size": 1000},
    {"type": "group_norm", "num_groups": 5003},
    {"type": "self_attention", "num_heads": 1009},
    {"type": "residual", "layers": [{"type": "linear", "out_features": 5003}]},
    {"type": "parallel", "branches": [[], [{"type": "linear", "out_features": 5003}]]},
]


@PROPERTY
@given(fitting_models(), st.sampled_from(NEVER_FITS), st.data())
def test_a_layer_that_does_not_fit_is_named_by_its_path(model, broken, data):
    model = json.loads(json.dumps(model))  # drawn lists may be one object
    layers, path = model["layers"], []
    first = 1 if "vocab_size" in model else 0
    while True:
        index = data.draw(st.integers(0 if path else first, len(layers) - (not path)))
        block = layers[index] if index < len(layers) else {}
        path.append(index)
        if "layers" in block and data.draw(st.booleans()):
            path.append("layers")
            layers = block["layers"]
        elif "branches" in block and data.draw(st.booleans()):
            place = data.draw(st.integers(0, len(block["branches"]) - 1))
            path += ["branches", place]
            layers = block["branches"][place]
        else:
            layers.insert(index, broken)
            break
    with pytest.raises(ValidationError) as refused:
        LayersSpec.model_validate(model)
    (fault,) = refused.value.errors()
    assert fault["type"] == "layer_does_not_fit"
    assert fault["loc"] == ("layers", *path)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(model=fitting_models())
def test_an_accepted_model_trains(precision, model):
    spec = LayersSpec.model_validate(model)
    training = TrainingConfig(batch_size=4, steps=2, warmup_steps=1, validation_samples=4)
    if isinstance(blueprint_of(spec).shape, ClassifiedTokens):
        inputs, targets = torch.randint(spec.vocab_size, (4, *spec.input_shape)), torch.randint(3, (4,))
    else:
        inputs, targets = data_of(spec, training).training[0]
    torch.manual_seed(0)
    run = prepare(build_model(spec), PRECISIONS[precision], training, CPU)
    step = training_step(run, (inputs, targets))
    assert step.loss.isfinite()


def test_every_layer_on_offer_has_a_builder_and_no_other():
    tags = {tag for layer in LAYERS.json_schema()["$defs"].values() for tag in type_names(layer)}
    assert tags == set(BUILDERS)


def type_names(schema):
    named = schema["properties"]["type"]
    return named.get("enum") or [named["const"]]


def test_no_field_of_a_layer_is_called_like_a_layer():
    fields = {name for layer in LAYERS.json_schema()["$defs"].values() for name in layer["properties"]}
    assert not fields & set(BUILDERS), "a JSON pointer would lose the step of the field"
