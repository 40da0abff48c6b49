"""One step against FP64, and where gradients overflow: real models, real arithmetic."""

import pytest
import torch

from halftime.contract.models import ConvnetSpec, MlpSpec, TransformerSpec, TransformersSpec
from halftime.contract.request.training import TrainingConfig
from tests.factories import comparison, data_of, numerics, run_of, trial
from worker.comparison.blocks import compare
from worker.proof.numerics import compare_with_fp64
from worker.proof.overflow import first_overflow
from worker.report.build import make_report
from worker.training.precision import PRECISIONS, read_flags, set_flags
from worker.training.precision_facts import FACTS

SETTINGS = TrainingConfig(batch_size=16, steps=6, warmup_steps=1)
CPU = torch.device("cpu")
MODELS = [
    MlpSpec(input_size=32, hidden_size=64, num_layers=3),
    ConvnetSpec(image_size=8, widths=[8, 16], blocks_per_stage=1),
    TransformerSpec(vocab_size=32, hidden_size=32, num_layers=2, sequence_length=16),
]


def prepared(spec, precision, settings=SETTINGS):
    torch.manual_seed(0)
    return run_of(spec, precision, settings), data_of(spec, settings).training


def against_fp64(spec, precision, settings=SETTINGS):
    run, batches = prepared(spec, precision, settings)
    return compare_with_fp64(run, PRECISIONS[precision], batches[0])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.kind)
def test_rounding_explains_how_far_amp_is_from_fp64(spec, precision):
    found = against_fp64(spec, precision)
    assert 0.2 < found.gradient_relative_rmse / found.explained_relative_rmse < FACTS[precision].max_error_ratio / 2
    assert found.loss_relative_error < 0.01
    assert found.samples == 8


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.kind)
def test_fp32_is_a_thousand_times_nearer(spec):
    found = against_fp64(spec, "fp32")
    assert found.gradient_relative_rmse < against_fp64(spec, "bf16").gradient_relative_rmse / 1000
    assert found.gradient_relative_rmse < FACTS["fp32"].max_error_ratio * found.explained_relative_rmse


DROPPING = [
    TransformersSpec(
        preset="gpt2", sequence_length=16, config={"vocab_size": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}
    ),
    TransformersSpec(
        model_type="convnext",
        task="image-classification",
        image_size=32,
        num_classes=4,
        config={"hidden_sizes": [8, 16], "depths": [2, 2], "num_stages": 2, "drop_path_rate": 0.5},
    ),
]


@pytest.mark.parametrize("spec", DROPPING, ids=lambda spec: spec.architecture)
def test_dropout_is_off_in_the_comparison_and_on_again_afterwards(spec):
    run, batches = prepared(spec, "fp32")
    modes = {name: module.training for name, module in run.model.named_modules()}
    found = compare_with_fp64(run, PRECISIONS["fp32"], batches[0])
    assert found.gradient_relative_rmse < 1e-5
    assert {name: module.training for name, module in run.model.named_modules()} == modes
    first, again = (run.model(batches[0][0]) for _ in range(2))
    assert not torch.equal(first, again)


def test_batch_norm_is_compared_as_it_trains():
    """Its running averages say nothing yet: in evaluation the gradient would be another function's."""
    run, batches = prepared(MODELS[1], "fp32")
    seen = []
    run.model.norm.register_forward_hook(lambda module, inputs, result: seen.append(result.mean().item()))
    compare_with_fp64(run, PRECISIONS["fp32"], batches[0])
    assert seen[0] == pytest.approx(0, abs=1e-6)


def test_the_worst_layers_share_the_error_and_come_in_order():
    shares = [layer.share_of_error for layer in against_fp64(MODELS[0], "bf16").worst_layers]
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1 + 1e-9


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.kind)
def test_fp64_takes_the_same_way_through_micro_batches(spec):
    """Batch norm makes it matter: it normalises over a micro-batch."""
    parts = SETTINGS.model_copy(update={"gradient_accumulation": 4})
    assert against_fp64(spec, "fp32", parts).gradient_relative_rmse < 1e-5


def test_a_layer_that_is_wrong_in_half_precision_only_is_named():
    """The fault is planted in one layer of the model; its weights and its FP64 result are as they should be."""
    run, batches = prepared(MODELS[0], "bf16")
    run.model.layers[4].register_forward_hook(
        lambda module, inputs, result: result if result.dtype is torch.float64 else 1.5 * result
    )
    found = compare_with_fp64(run, PRECISIONS["bf16"], batches[0])
    assert found.gradient_relative_rmse > FACTS["bf16"].max_error_ratio * found.explained_relative_rmse
    assert found.worst_layers[0].name.startswith(("layers.4", "layers.6"))  # it, or the one it feeds


@pytest.mark.anyio
async def test_a_gradient_far_off_is_a_warning_that_names_the_layers():
    async def run_trial(spec, deadline_seconds, after_step):
        return trial(spec, numerics=numerics(gradient_relative_rmse=0.2, explained_relative_rmse=0.005))

    report = make_report("id", await compare(comparison(), run_trial, lambda progress: None))
    assert any("off from FP64's by 20 %" in warning and "layers.0.weight" in warning for warning in report.warnings)


@pytest.mark.anyio
async def test_fp32_may_be_further_off_than_amp_for_the_rounding_of_its_sums():
    async def run_trial(spec, deadline_seconds, after_step):
        return trial(spec, numerics=numerics(gradient_relative_rmse=2e-6, explained_relative_rmse=1e-7))

    report = make_report("id", await compare(comparison(), run_trial, lambda progress: None))
    assert [warning.partition(":")[0] for warning in report.warnings if "off from FP64's" in warning] == ["bf16"]


@pytest.mark.anyio
async def test_a_step_that_was_not_compared_is_told_of():
    async def run_trial(spec, deadline_seconds, after_step):
        return trial(spec, numerics=None, not_examined={"numerics": "out of memory"})

    report = make_report("id", await compare(comparison(), run_trial, lambda progress: None))
    assert any("no comparison of a step with FP64: out of memory" in warning for warning in report.warnings)


def test_the_switches_are_as_they_were_afterwards():
    set_flags(PRECISIONS["tf32"])
    before = read_flags()
    against_fp64(MODELS[0], "tf32")
    assert read_flags() == before
    set_flags(PRECISIONS["fp32"])


def test_the_scale_is_halved_until_the_gradient_is_finite():
    run, batches = prepared(MODELS[0], "fp16")
    run.scaler.load_state_dict(run.scaler.state_dict() | {"scale": 2.0**40})
    found = compare_with_fp64(run, PRECISIONS["fp16"], batches[0])
    assert 1 < found.loss_scale < 2.0**40
    assert found.gradient_relative_rmse < 0.01


def overflowing(spec):
    run, batches = prepared(spec, "fp16")
    run.scaler.load_state_dict(run.scaler.state_dict() | {"scale": 2.0**40})
    return run, batches


def test_an_overflow_of_the_scale_begins_at_the_loss_and_goes_backward():
    found = first_overflow(*overflowing(MODELS[0]), skipped_step=0)
    assert found[0] == "layers.6"
    assert found.index("layers.4") < found.index("layers.2")


def test_an_output_layer_that_shares_its_weights_is_still_the_first():
    assert first_overflow(*overflowing(MODELS[2]), skipped_step=0)[0] == "output"


def test_an_overflow_in_one_layer_names_the_layer_that_gets_it_first():
    run, batches = prepared(MODELS[0], "fp16")
    run.model.layers[2].register_full_backward_pre_hook(lambda module, gradients: (gradients[0] * 1e30,))
    assert first_overflow(run, batches, skipped_step=0)[0] in {"layers.1", "layers.2"}


def test_an_overflow_of_the_forward_pass_names_the_layer_that_made_it():
    run, batches = prepared(MODELS[0], "fp16")
    run.model.layers[2].register_forward_hook(lambda module, inputs, result: result * 1e30)
    assert first_overflow(run, batches, skipped_step=0)[0].startswith("layers.")


def test_an_overflow_late_in_training_is_not_searched_for():
    run, batches = prepared(MODELS[0], "fp16")
    assert first_overflow(run, batches, skipped_step=1000) is None


def test_no_overflow_is_found_where_there_is_none():
    run, batches = prepared(MODELS[0], "fp16")
    assert first_overflow(run, batches, skipped_step=0) is None
