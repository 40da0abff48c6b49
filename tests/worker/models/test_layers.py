"""Lists of layers: what is inferred without torch is what torch does, and what does not fit is named."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from halftime.contract.models import LayersSpec
from halftime.contract.report.failure import FailureCode
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.request.training import TrainingConfig
from halftime.plugin import CausalTokens, ClassifiedTokens, Images, Vectors
from tests.factories import data_of
from tests.layer_lists import ANY_MODEL, CAUSAL_INPUTS, LAYERS, fitting_models, input_of, parsed
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.models import blueprint_of
from worker.models.layers import BUILDERS, Recurrent, build_layers
from worker.proof.numerics import compare_with_fp64
from worker.tasks.regression import Regression
from worker.training.loop import prepare, training_step
from worker.training.precision import PRECISIONS
from worker.trial.run import run_trial

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


# torch says once per process that RMS norm of BF16 with FP32 weights, as autocast makes it, has no fused kernel.
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(model=fitting_models())
def test_an_accepted_model_trains(precision, model):
    spec = LayersSpec.model_validate(model)
    training = TrainingConfig(batch_size=4, steps=2, warmup_steps=1, validation_samples=4)
    inputs, targets = data_of(spec, training).training[0]
    torch.manual_seed(0)
    run = prepare(blueprint_of(spec).build(), blueprint_of(spec).task, PRECISIONS[precision], training, CPU)
    step = training_step(run, (inputs, targets))
    assert step.loss.isfinite()


def test_every_layer_on_offer_has_a_builder_and_no_other():
    tags = {tag for layer in LAYERS.json_schema()["$defs"].values() for tag in type_names(layer)}
    assert tags == set(BUILDERS)


def type_names(schema):
    named = schema["properties"]["type"]
    return named.get("enum") or [named["const"]]


def model_of(layers, **given):
    return LayersSpec.model_validate({"kind": "layers", "layers": layers} | given)


def conv(channels, **settings):
    return {"type": "conv2d", "out_channels": channels, "kernel_size": 3, "padding": 1} | settings


NETS = {
    "linear": model_of(
        [{"type": "linear", "out_features": size} for size in (64, 64, 64, 64, 64, 64, 10)], input_shape=[16]
    ),
    "convolution": LayersSpec(),
    "strided, dilated and depthwise": model_of(
        [
            conv(16),
            conv(32, stride=2),
            conv(32, groups=32),
            conv(48, dilation=2),
            {"type": "parallel", "branches": [[conv(16)], [conv(32, bias=False)]], "merge": "concat"},
            {"type": "adaptive_avg_pool2d"},
            {"type": "flatten"},
            {"type": "linear", "out_features": 10},
        ],
        input_shape=[3, 20, 20],
    ),
    "attention": model_of(
        [
            {"type": "embedding", "embedding_dim": 32},
            {"type": "positional_embedding"},
            {
                "type": "residual",
                "layers": [{"type": "layer_norm"}, {"type": "self_attention", "num_heads": 4, "causal": True}],
            },
            {"type": "linear", "out_features": 50},
        ],
        input_shape=[24],
        vocab_size=50,
        task="causal-lm",
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_the_work_is_what_torch_counts(name):
    spec, samples = NETS[name], 2
    model = blueprint_of(spec).build()
    inputs = torch.randn(samples, *spec.input_shape)
    if spec.vocab_size:
        inputs = torch.randint(spec.vocab_size, (samples, *spec.input_shape))
    # The counter does not know the CPU's fused attention.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        loss = model(inputs).sum()
    assert spec.training_flops_per_sample() * samples == 3 * forward.get_total_flops()
    if "depthwise" not in name:  # whose way back the counter takes for that of a whole convolution
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as backward:
            loss.backward()
        both = forward.get_total_flops() + backward.get_total_flops()
        # Torch leaves out the gradient of the input.
        assert spec.training_flops_per_sample() * samples == pytest.approx(both, rel=0.03)


TOKENS = {"input_shape": [7], "vocab_size": 11}
SHAPES = {
    "vectors": ({"input_shape": [5]}, [], Vectors(5, 10)),
    "images": ({"input_shape": [2, 5, 6]}, [], Images(2, 5, 6, 10)),
    "tokens": (TOKENS, [{"type": "embedding", "embedding_dim": 4}], ClassifiedTokens(11, 7, 10)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_input_decides_what_a_classifier_is_trained_on(name):
    given, first, shape = SHAPES[name]
    head = [{"type": "flatten"}, {"type": "linear", "out_features": 10}]
    assert blueprint_of(model_of(first + head, **given)).task.shape == shape


@pytest.mark.parametrize("shape", [[5], [2, 5, 6]])
def test_a_regression_predicts_numbers_from_numbers(shape):
    head = [{"type": "flatten"}, {"type": "linear", "out_features": 3}]
    spec = model_of(head, input_shape=shape, task="regression", num_targets=3)
    assert blueprint_of(spec).task == Regression(tuple(shape), 3)
    inputs, targets = data_of(spec, TrainingConfig(batch_size=4)).training[0]
    assert blueprint_of(spec).build()(inputs).shape == targets.shape == (4, 3)


@pytest.mark.parametrize(
    ("changes", "place"), [({"num_targets": 2}, ("layers", 1)), ({"vocab_size": 11}, ("vocab_size",))]
)
def test_a_regression_that_cannot_be_is_refused_at_its_place(changes, place):
    head = [{"type": "flatten"}, {"type": "linear", "out_features": 3}]
    with pytest.raises(ValidationError) as refused:
        model_of(head, **({"input_shape": [5], "task": "regression", "num_targets": 3} | changes))
    assert refused.value.errors()[0]["loc"] == place


def test_a_causal_language_model_is_trained_on_the_next_token():
    layers = [{"type": "embedding", "embedding_dim": 4}, {"type": "linear", "out_features": 11}]
    assert blueprint_of(model_of(layers, task="causal-lm", **TOKENS)).task.shape == CausalTokens(11, 7)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(fitting_models(CAUSAL_INPUTS))
def test_no_position_of_a_causal_model_sees_a_later_one(model):
    spec = LayersSpec.model_validate(model)
    torch.manual_seed(0)
    module = blueprint_of(spec).build().eval()
    tokens = torch.zeros(1, *spec.input_shape, dtype=torch.int64)
    changed = tokens.clone()
    changed[0, -1] = 1
    assert torch.allclose(module(tokens)[0, :-1], module(changed)[0, :-1], atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_recurrent_network_is_measured_or_its_precision_refused(precision):
    spec = model_of(
        [
            {"type": "embedding", "embedding_dim": 8},
            {"type": "lstm", "hidden_size": 8},
            {"type": "gru", "hidden_size": 8},
            {"type": "linear", "out_features": 11},
        ],
        task="causal-lm",
        **TOKENS,
    )
    try:
        result = trial_of(spec, precision)
    except TrialFailed as error:  # an LSTM in half precision needs a CPU with arithmetic for it
        assert precision != "fp32"
        assert error.failure.code is FailureCode.TRAINING_FAILED
        assert f"{precision}: the forward pass of step 1 failed in 1.network (LSTM)" in error.failure.detail
        assert "another precision" in error.failure.detail
    else:
        assert result.validation_loss > 0
        assert set(result.attestation.forward_dtypes) == {"Linear"}


def test_a_model_without_any_gradient_is_measured_all_the_same():
    constant = {"type": "parallel", "branches": [[{"type": "softmax"}]] * 10, "merge": "concat"}
    spec = model_of([{"type": "linear", "out_features": 1}, constant], input_shape=[4])
    assert trial_of(spec, "bf16").numerics.gradient_relative_rmse is None


def test_batch_norm_of_vectors_is_compared_with_fp64_in_micro_batches_of_two():
    spec = model_of([{"type": "linear", "out_features": 10}, {"type": "batch_norm"}], input_shape=[4])
    training = TrainingConfig(batch_size=16, gradient_accumulation=8, steps=2, warmup_steps=1)
    run = prepare(blueprint_of(spec).build(), blueprint_of(spec).task, PRECISIONS["fp32"], training, CPU)
    numerics = compare_with_fp64(run, PRECISIONS["fp32"], data_of(spec, training).training[0])
    assert numerics.samples == 16
    assert numerics.gradient_relative_rmse < 1e-4


def trial_of(spec, precision, **training):
    settled = TrainingConfig(**({"batch_size": 4, "steps": 3, "warmup_steps": 1, "validation_samples": 4} | training))
    return run_trial(
        TrialSpec(device="cpu", precision=precision, block=0, position=0, model=spec, training=settled, examined=True),
        lambda step: None,
    )


def test_a_recurrent_fault_that_is_not_of_precision_stays_what_it_is():
    layer = parsed([{"type": "lstm", "hidden_size": 3}])[0]
    with pytest.raises(RuntimeError, match=r"input\.size"):
        Recurrent(4, layer)(torch.zeros(1, 2, 5))


def test_the_example_is_small_and_fits():
    example = json.loads((Path(__file__).parents[3] / "examples" / "layers.json").read_text())
    assert BenchmarkRequest.model_validate(example).model.parameter_count() < 1_000_000
