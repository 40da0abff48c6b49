"""Adapters: what is trained, what is frozen, and what is refused. Real training of every kind of model."""

import sys
from functools import partial

import pytest
import torch
from torch import nn

from halftime.contract.models import ConvnetSpec, LayersSpec, MlpSpec, TransformerSpec, TransformersSpec
from halftime.contract.request.adapters import LoraConfig
from halftime.contract.request.training import CompileConfig, TrainingConfig
from tests.factories import comparison, request
from worker.errors import TrialFailed
from worker.messages import Inspection, TrialSpec
from worker.models import blueprint_of
from worker.report.attestation import attest
from worker.training import loop
from worker.training.adapters import add_adapters
from worker.training.compilation import compiled
from worker.training.held import state_of
from worker.trial import inspection, run
from worker.trial.preparation import prepare_run
from worker.trial.run import run_trial

CPU = torch.device("cpu")
WIDTH, LAYERS, VOCABULARY, LENGTH, RANK = 32, 2, 64, 16, 4
GPT2 = TransformersSpec(
    preset="gpt2",
    sequence_length=LENGTH,
    config={"vocab_size": VOCABULARY, "n_positions": LENGTH, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 2},
)
MODELS = {
    "mlp": MlpSpec(input_size=16, hidden_size=32, num_layers=2, num_classes=4),
    "convnet": ConvnetSpec(image_size=8, widths=[8, 16], blocks_per_stage=1),
    "transformer": TransformerSpec(vocab_size=64, hidden_size=32, num_layers=2, num_heads=2, sequence_length=16),
    "layers": LayersSpec.model_validate(
        {
            "input_shape": [16],
            "vocab_size": 32,
            "task": "causal-lm",
            "layers": [
                {"type": "embedding", "embedding_dim": 16},
                {
                    "type": "residual",
                    "layers": [{"type": "layer_norm"}, {"type": "self_attention", "num_heads": 2, "causal": True}],
                },
                {"type": "linear", "out_features": 32},
            ],
        }
    ),
    "gpt2": GPT2,
}
#: A network of convolutions has one linear layer, its output.
TARGETS = {"convnet": ["conv1", "conv2"]}
SETTINGS = TrainingConfig(batch_size=8, steps=4, warmup_steps=1, validation_samples=16, learning_rate=1e-2)

#: What a layer of GPT-2 adapts: inputs and outputs of its four linear layers.
SIDES = [(WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)]
ADAPTERS = LAYERS * RANK * sum(inputs + outputs for inputs, outputs in SIDES)
MATRICES = (VOCABULARY + LENGTH) * WIDTH + LAYERS * sum(inputs * outputs for inputs, outputs in SIDES)
VECTORS = LAYERS * (sum(outputs for _, outputs in SIDES) + 2 * 2 * WIDTH) + 2 * WIDTH


def spec_of(kind="gpt2", precision="fp32", adapters=None, **settings):
    wanted = {"rank": RANK, "target_modules": TARGETS.get(kind)} | (adapters or {})
    return TrialSpec(
        device="cpu",
        precision=precision,
        block=0,
        position=0,
        model=MODELS[kind],
        training=SETTINGS.model_copy(update=settings),
        adapters=LoraConfig.model_validate(wanted),
        examined=True,
    )


def trained(*args, **changes):
    return run_trial(spec_of(*args, **changes), lambda step: None)


def refusal(model, **adapters):
    with pytest.raises(TrialFailed) as caught:
        add_adapters(model, LoraConfig.model_validate(adapters))
    assert caught.value.failure.code == "invalid_model"
    return caught.value.failure.detail


@pytest.mark.parametrize(
    ("precision", "base", "matrix_bytes", "trained_bytes"),
    [("fp32", "fp32", 4, 4), ("bf16", "fp32", 4, 4), ("bf16", "bf16", 2, 4), ("fp32", "bf16", 2, 4)],
)
def test_parameters_and_memory_of_gpt2_are_as_computed_by_hand(precision, base, matrix_bytes, trained_bytes):
    result = trained(precision=precision, adapters={"base_precision": base})
    parts = result.memory.breakdown
    assert result.not_examined == {}
    assert result.trained_parameter_count == ADAPTERS
    assert result.parameter_count == MATRICES + VECTORS + ADAPTERS
    assert parts.parameters == matrix_bytes * MATRICES + 4 * VECTORS + trained_bytes * ADAPTERS
    counts_of_steps = 4 * 2 * LAYERS * len(SIDES)
    assert parts.optimizer == 2 * trained_bytes * ADAPTERS + counts_of_steps
    assert parts.gradients <= trained_bytes * ADAPTERS
    assert result.attestation.held_dtypes["gradients"] == {"float32": ADAPTERS}
    assert result.attestation.frozen_weights == "unchanged"


def test_in_bf16_true_adapters_and_base_are_bf16():
    result = trained(precision="bf16-true")
    assert result.memory.breakdown.parameters == 2 * (MATRICES + VECTORS + ADAPTERS)
    assert {dtype for counts in result.attestation.held_dtypes.values() for dtype in counts} == {"bfloat16"}
    assert result.attestation.frozen_weights == "unchanged"


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(
    ("precision", "base"), [("fp32", "bf16"), ("bf16", "bf16"), ("fp16", "bf16"), ("bf16-true", "fp32")]
)
def test_every_kind_is_trained_with_its_weights_frozen(kind, precision, base):
    result = trained(kind, precision=precision, adapters={"base_precision": base})
    lowered = {"fp32": "float32", "fp16": "float16"}.get(precision, "bfloat16")
    assert result.applied_steps > 0
    assert result.not_examined == {}
    assert {dtype for dtypes in result.attestation.forward_dtypes.values() for dtype in dtypes} == {lowered}
    assert result.attestation.frozen_weights == "unchanged"
    assert 0 < result.trained_parameter_count < result.parameter_count


def test_frozen_weights_are_bit_equal_and_adapters_are_not(monkeypatch):
    states = []

    def watched(*args, **kwargs):
        prepared = prepare_run(*args, **kwargs)
        states.append((prepared.model, {name: value.clone() for name, value in state_of(prepared.model).items()}))
        return prepared

    monkeypatch.setattr(run, "prepare_run", watched)
    monkeypatch.setattr(run, "_examine", lambda *_: pytest.fail("not reached") if not states else stop(*states[0]))

    def stop(model, before):
        after = state_of(model)
        changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
        assert changed == {name for name in after if "lora_" in name}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(precision="bf16", adapters={"base_precision": "bf16"})


@pytest.mark.parametrize("base", ["fp32", "bf16"])
def test_every_leg_begins_with_the_same_adapters(base):
    legs = [prepare_run(spec_of(precision=name, adapters={"base_precision": base}), CPU) for name in ("fp32", "bf16")]
    one, other = (leg.attestation.initial_weights_sha256 for leg in legs)
    assert one == other
    first, second = (state_of(leg.model) for leg in legs)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    different = prepare_run(spec_of(adapters={"rank": RANK + 1, "base_precision": base}), CPU)
    assert different.attestation.initial_weights_sha256 != one  # the hash covers the adapters


def test_a_frozen_weight_that_moved_is_caught(monkeypatch):
    """Planted: one bit of a frozen weight after the last step."""
    step = loop.training_step

    def moving(run, batch):
        result = step(run, batch)
        frozen = next(weight for weight in run.model.parameters() if not weight.requires_grad)
        frozen.data.view(torch.int32).view(-1)[0] ^= 1
        return result

    monkeypatch.setattr(loop, "training_step", moving)
    result = trained(steps=3)
    assert result.attestation.frozen_weights == "changed"
    measured = comparison(request())
    measured.baseline.trials.append(result)
    (check,) = [check for check in attest(measured).checks if check.name == "frozen_weights"]
    assert (check.ok, check.expected, check.observed) == (False, "unchanged", "changed")


@pytest.mark.parametrize("base", ["fp32", "bf16"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16-true"])
def test_activation_checkpointing_works_with_adapters(precision, base):
    plain = trained(precision=precision, adapters={"base_precision": base})
    saving = trained(precision=precision, adapters={"base_precision": base}, activation_checkpointing=True)
    assert saving.not_examined == {}
    assert saving.loss_curve == pytest.approx(plain.loss_curve, rel=1e-2)


def test_clipping_and_decay_are_of_the_adapters_alone():
    assert trained(max_grad_norm=1e-3, weight_decay=0.5).attestation.frozen_weights == "unchanged"


@pytest.mark.parametrize(("precision", "base"), [("fp32", "bf16"), ("bf16-true", "fp32")])
def test_a_compiled_model_works_with_adapters(monkeypatch, precision, base):
    """Down to torch's own operations, of whose kernels the adapters know nothing."""
    monkeypatch.setattr(run, "compiled", partial(compiled, backend="aot_eager"))
    compile_ = CompileConfig()
    result = trained("mlp", precision=precision, adapters={"base_precision": base}, compile=compile_)
    assert (result.applied_steps, result.attestation.frozen_weights) == (4, "unchanged")
    assert result.compilation.recompiles == 0


def test_all_linear_leaves_out_the_output():
    model = blueprint_of(GPT2).build()
    add_adapters(model, LoraConfig(rank=2))
    adapted = {name for name, module in model.named_modules() if hasattr(module, "base_layer")}
    assert {name.rpartition(".")[2] for name in adapted} == {"c_attn", "c_proj", "c_fc"}
    assert len(adapted) == LAYERS * len(SIDES)


def test_named_modules_alone_are_adapted():
    model = blueprint_of(GPT2).build()
    add_adapters(model, LoraConfig(rank=2, target_modules=["c_attn"]))
    assert sum(hasattr(module, "base_layer") for module in model.modules()) == LAYERS


def test_modules_that_match_nothing_are_refused_with_near_names():
    model = blueprint_of(GPT2).build()
    assert refusal(model, target_modules=["c_atn"]).startswith(
        "config.adapters.target_modules: no module is called 'c_atn'. Did you mean c_attn"
    )
    assert "linear layers are c_attn, c_proj, c_fc, lm_head" in refusal(model, target_modules=["xyz"])


def test_a_rank_beyond_the_layer_is_refused():
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4))
    assert refusal(model, rank=9) == ("config.adapters.rank: 9 is more than the 8 that 0 can have. Use a rank up to 8.")


def test_a_model_whose_only_linear_layer_is_its_output_is_refused():
    assert "has no linear layer beside its output" in refusal(nn.Sequential(nn.Linear(8, 4)))


def test_without_peft_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    assert "pip install 'halftime[worker]'" in refusal(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4)))


def test_a_layer_that_its_parent_reads_is_not_adapted():
    """The output projection of torch's attention is never called: an adapter there would be passed by."""
    model = nn.Sequential(nn.MultiheadAttention(8, 2), nn.Linear(8, 8), nn.Linear(8, 4))
    add_adapters(model, LoraConfig(rank=2))
    assert [name for name, module in model.named_modules() if hasattr(module, "base_layer")] == ["1"]


def test_an_inspection_counts_adapters_and_refuses_before_training(monkeypatch):
    monkeypatch.setattr(inspection, "_limit_memory", lambda: None)
    config = spec_of()
    asked = Inspection(device="cpu", model=GPT2, data=config.data, adapters=config.adapters, seed=0)
    facts = inspection.inspect_model(asked)
    assert facts.parameter_count == MATRICES + VECTORS + ADAPTERS
    assert facts.min_memory_bytes >= 4 * (MATRICES + VECTORS) + 8 * ADAPTERS
    wrong = asked.model_copy(update={"adapters": LoraConfig(target_modules=["nothing"])})
    with pytest.raises(TrialFailed, match="target_modules"):
        inspection.inspect_model(wrong)
