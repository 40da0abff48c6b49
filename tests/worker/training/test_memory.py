"""The account of memory: its parts add up, and are what they are called. Real steps of every kind of model."""

from functools import cache

import pytest
import torch

from halftime.contract.models import (
    MODEL_KINDS,
    ConvnetSpec,
    DiffusersSpec,
    DitSpec,
    DlrmSpec,
    LayersSpec,
    MlpSpec,
    TransformerSpec,
    TransformersSpec,
)
from halftime.contract.request.training import CompileConfig, TrainingConfig
from halftime.plugin import Vectors
from tests.factories import data_of
from worker.data.batches import bytes_of
from worker.messages import TrialSpec
from worker.models import blueprint_of
from worker.tasks.cross_entropy import CrossEntropy
from worker.training.loop import prepare, training_step
from worker.training.memory import CudaPeaks, account_for_step, break_down, cpu_step_peak, memory_on_cuda
from worker.training.precision import PRECISIONS
from worker.trial.run import run_trial

MODELS = {
    "mlp": MlpSpec(input_size=64, hidden_size=256),
    "convnet": ConvnetSpec(image_size=8, widths=[16, 32], blocks_per_stage=1),
    "transformer": TransformerSpec(vocab_size=64, hidden_size=64, num_layers=2, sequence_length=64),
    "dit": DitSpec(image_size=16, hidden_size=64, num_layers=2, num_heads=4, num_classes=4),
    "dlrm": DlrmSpec(num_tables=4, rows_per_table=100, bottom_widths=[64], top_widths=[64]),
    "diffusers": DiffusersSpec(
        image_size=16,
        config={
            "block_out_channels": [16, 32],
            "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
            "layers_per_block": 1,
            "norm_num_groups": 8,
        },
    ),
    "transformers": TransformersSpec(
        preset="gpt2", sequence_length=64, config={"vocab_size": 64, "n_embd": 64, "n_layer": 2, "n_head": 4}
    ),
    "layers": LayersSpec.model_validate(
        {
            "input_shape": [64],
            "layers": [
                {"type": "linear", "out_features": 256},
                {"type": "residual", "layers": [{"type": "linear", "out_features": 256}, {"type": "gelu"}]},
                {"type": "linear", "out_features": 10},
            ],
        }
    ),
}
TASK = CrossEntropy(Vectors(64, 10))
SETTINGS = TrainingConfig(batch_size=16, steps=4, warmup_steps=1)

#: Peaks of CUDA's allocator in the first step, and in measured ones.
FIRST, STEADY = {"allocated": 2 * 10**8, "reserved": 4 * 10**8}, {"allocated": 10**8, "reserved": 3 * 10**8}

#: What the kernels of a convolution, and of a product of batches in half precision, allocate for their own work is no
#: tensor: `other` holds it, and nothing less.
KERNELS_ALLOCATE = {"convnet", "dlrm"}


def test_every_kind_is_tried():
    assert MODELS.keys() == MODEL_KINDS.keys() - {"plugin"}


def test_micro_batches_are_accounted_for_too():
    whole, parts = (memory_of("convnet", "fp32", gradient_accumulation=parts).breakdown for parts in (1, 4))
    assert parts.parameters == whole.parameters
    assert 0 < parts.activations < whole.activations


@cache
def memory_of(kind, precision, **settings):
    """The account of a trial; the same one is made once."""
    training = SETTINGS.model_copy(update=settings)
    spec = TrialSpec(device="cpu", precision=precision, block=0, position=0, model=MODELS[kind], training=training)
    return run_trial(spec, lambda step: None).memory


#: FP16, whose tensors are as large as those of BF16, for two kinds: it takes half a minute where the CPU emulates it.
ACCOUNTED = [(kind, name) for kind in MODELS for name in ("fp32", "bf16")] + [("mlp", "fp16"), ("transformer", "fp16")]


@pytest.mark.parametrize(("kind", "precision"), ACCOUNTED)
def test_the_parts_add_up_to_what_the_allocator_gave_out(kind, precision):
    memory = memory_of(kind, precision)
    parts = memory.breakdown
    assert parts.total_bytes() == memory.peak_bytes
    batch_bytes = bytes_of(data_of(MODELS[kind], SETTINGS).training[0])
    if kind in KERNELS_ALLOCATE:
        assert parts.other >= batch_bytes
    else:
        assert abs(parts.other - batch_bytes) <= 0.02 * memory.peak_bytes


@pytest.mark.parametrize("kind", MODELS)
def test_the_parts_are_what_they_are_called(kind):
    parts = memory_of(kind, "fp32").breakdown
    weights = 4 * sum(weight.numel() for weight in blueprint_of(MODELS[kind]).build().parameters())
    assert parts.parameters == weights
    assert parts.optimizer == pytest.approx(2 * weights, rel=0.02)  # AdamW's two moments, and a counter each
    assert parts.gradients <= weights
    assert parts.activations > 0


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_two_independent_counts_agree(kind):
    """The allocator's record of one step, and the sum over tensors of another."""
    torch.manual_seed(0)
    batch = data_of(MODELS[kind], SETTINGS).training[0]
    run = prepare(blueprint_of(MODELS[kind]).build(), TASK, PRECISIONS["bf16"], SETTINGS, torch.device("cpu"))
    training_step(run, batch)
    assert cpu_step_peak(run, batch) == pytest.approx(account_for_step(run, batch).total_bytes(), rel=0.02)


class MakesAScale(torch.nn.Module):
    """Its forward pass makes a module with a frozen weight, as the loss of some detectors does."""

    def __init__(self):
        super().__init__()
        self.classes = torch.nn.Linear(64, 10)

    def forward(self, inputs):
        scale = torch.nn.LayerNorm(64).requires_grad_(False)
        return self.classes(scale(inputs))


def test_a_frozen_weight_that_a_forward_pass_makes_is_accounted_for():
    run = prepare(MakesAScale(), TASK, PRECISIONS["fp32"], SETTINGS, torch.device("cpu"))
    account = account_for_step(run, data_of(MODELS["mlp"], SETTINGS).training[0])
    assert account.gradients == 4 * (64 * 10 + 10)


def test_a_peak_is_of_its_step_and_not_of_what_came_before():
    """The fault is planted: something large was allocated, and freed, before the step."""
    batch = data_of(MODELS["mlp"], SETTINGS).training[0]
    run = prepare(blueprint_of(MODELS["mlp"]).build(), TASK, PRECISIONS["fp32"], SETTINGS, torch.device("cpu"))
    training_step(run, batch)
    before = cpu_step_peak(run, batch)
    large = torch.ones(10 * before, dtype=torch.uint8)
    del large
    assert cpu_step_peak(run, batch) == before


def test_the_first_step_makes_room_for_the_optimizer_and_its_peak_is_told_apart():
    adamw, sgd = memory_of("mlp", "fp32"), memory_of("mlp", "fp32", optimizer="sgd")
    assert adamw.first_step_peak_bytes != adamw.peak_bytes
    assert sgd.breakdown.optimizer < adamw.breakdown.optimizer


def test_a_larger_batch_needs_more_activations_and_the_same_weights():
    small, large = (memory_of("transformer", "fp32", batch_size=size).breakdown for size in (8, 32))
    assert large.activations > 2 * small.activations
    assert large.parameters == small.parameters


@pytest.mark.parametrize(
    ("mode", "source", "peak_bytes", "first_step_bytes"),
    [
        (None, "cuda_allocator", 10**8, 2 * 10**8),
        ("default", "cuda_allocator", 10**8, 2 * 10**8),
        ("max-autotune-no-cudagraphs", "cuda_allocator", 10**8, 2 * 10**8),
        ("reduce-overhead", "cuda_reserved", 3 * 10**8, 4 * 10**8),
        ("max-autotune", "cuda_reserved", 3 * 10**8, 4 * 10**8),
    ],
)
def test_steps_that_are_replayed_are_measured_by_what_the_allocator_holds(
    monkeypatch, mode, source, peak_bytes, first_step_bytes
):
    """CUDA's counters are faked; the account is of a real step."""
    counters = dict(FIRST)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: counters.update(STEADY))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: counters["allocated"])
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: counters["reserved"])
    peaks = CudaPeaks(torch.device("cuda", 0))
    peaks.after_first_step()
    peaks.before_measured()
    peaks.after_training()
    settings = SETTINGS.model_copy(update={"compile": CompileConfig(mode=mode) if mode else None})
    run = prepare(blueprint_of(MODELS["mlp"]).build(), TASK, PRECISIONS["fp32"], settings, torch.device("cpu"))
    batch = data_of(MODELS["mlp"], SETTINGS).training[0]
    memory = memory_on_cuda(run, start_bytes=0, peaks=peaks, waiting_bytes=1000)
    assert (memory.source, memory.peak_reserved_bytes) == (source, 3 * 10**8)
    assert (memory.peak_bytes, memory.first_step_peak_bytes) == (peak_bytes - 1000, first_step_bytes - 1000)
    assert break_down(account_for_step(run, batch), memory.peak_bytes).total_bytes() == memory.peak_bytes
