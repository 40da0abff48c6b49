"""The real training loop on tensors of `cuda:0` that have no values: what would fail on a GPU for another reason than
its kernels fails here, and what would make the host wait raises.

    python -m tests.worker.training.cuda_dry_run

prints the table of models, precisions and optimizers, and what cannot be covered.
"""

import contextlib
import itertools
import json
import sys
import tempfile
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.worker.training import driverless_cuda

if __name__ == "__main__":
    driverless_cuda.load()

import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.utils._python_dispatch import TorchDispatchMode

from halftime.contract.models import (
    ConvnetSpec,
    DiffusersSpec,
    DitSpec,
    DlrmSpec,
    LayersSpec,
    MlpSpec,
    PluginSpec,
    TransformersSpec,
)
from halftime.contract.models.transformer import TransformerSpec
from halftime.contract.request.training import FUSED, TrainingConfig
from tests.conftest import EXAMPLE_PLUGIN
from tests.factories import data_of
from worker.data.batches import map_tensors
from worker.data.feed import Place, ResidentFeed
from worker.models import blueprint_of
from worker.proof.observed_step import observe_step
from worker.proof.waits import SynchronisationWatch
from worker.training.checkpointing import checkpoint_activations
from worker.training.clock import CudaClock, make_clock
from worker.training.loop import Curves, LoopHooks, prepare, train, validate
from worker.training.memory import CudaPeaks, account_for_step, break_down, memory_on_cuda
from worker.training.precision import PRECISIONS

DEVICE = torch.device("cuda", 0)
GPT2 = {"vocab_size": 64, "n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2}
UNET = {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
IMAGE_LAYERS = [
    {"type": "conv2d", "out_channels": 16, "kernel_size": 3, "padding": 1},
    {"type": "batch_norm"},
    {"type": "conv2d", "out_channels": 16, "kernel_size": 3, "padding": 1, "groups": 16},
    {"type": "relu"},
    {"type": "adaptive_avg_pool2d", "output_size": 1},
    {"type": "flatten"},
    {"type": "linear", "out_features": 10},
]
MODELS = {
    "mlp": MlpSpec(input_size=16, hidden_size=16, num_layers=1, num_classes=8),
    "convnet": ConvnetSpec(image_size=8, widths=[8], blocks_per_stage=1),
    "transformer": TransformerSpec(vocab_size=16, hidden_size=16, num_layers=1, num_heads=2, sequence_length=8),
    "dit": DitSpec(image_size=8, hidden_size=16, num_layers=1, num_heads=2, num_classes=4),
    "dlrm": DlrmSpec(num_tables=3, rows_per_table=16, bag_size=2, bottom_widths=[16], top_widths=[16]),
    "transformers": TransformersSpec(preset="gpt2", sequence_length=8, config=GPT2),
    "diffusers": DiffusersSpec(image_size=8, num_classes=4, config=UNET),
    "layers": LayersSpec.model_validate({"input_shape": [3, 8, 8], "layers": IMAGE_LAYERS}),
    "plugin": PluginSpec(name="gated-mlp", arguments={"width": 16, "inputs": 16, "classes": 8}),
}
OPTIMIZERS = [
    (optimizer, implementation)
    for optimizer in ("adamw", "adam", "sgd", "adafactor")
    for implementation in ("fused", "foreach")
    if implementation == "foreach" or optimizer in FUSED
]
#: What a quick run tries with every optimizer, by turns; the others differ from these before the optimizer's step.
THOROUGH = ("mlp", "convnet", "transformer")
#: Settings that change what a step does, each tried once for a model that it is of use to.
SETTINGS = {
    "gradient_accumulation": ("transformer", {"gradient_accumulation": 2}),
    "activation_checkpointing": ("transformer", {"activation_checkpointing": True}),
    "channels_last": ("convnet", {"channels_last": True}),
    "autocast_cache": ("transformer", {"autocast_cache": False}),
    "max_grad_value": ("mlp", {"max_grad_norm": None, "max_grad_value": 1.0}),
    "label_smoothing": ("mlp", {"label_smoothing": 0.1}),
    "dropout": ("transformer", {}),
}
NOT_COVERED = (
    "kernels: what they compute, how fast, and whether there is one for the shapes and the device",
    "memory: the allocator's counters, and running out of it",
    "torch.compile and CUDA graphs",
    "probes, ceiling and the comparison with FP64, which need values",
    "a loader's page-locked batches, streams other than the default one, telemetry",
    "waits that torch's dispatcher does not see",
)


@dataclass(frozen=True)
class Row:
    """What came of one combination."""

    model: str
    precision: str
    optimizer: str
    implementation: str
    setting: str
    #: `ok`; `waits`, where the step asks for a value, and all else is well; or `failed`.
    outcome: str
    #: What waited, or why it failed.
    detail: str = ""


class Answers(TorchDispatchMode):
    """Gives the host the same number whenever it asks the device for a value."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default and args[0].device.type == "cuda":
            return float(self.number) if args[0].is_floating_point() else int(self.number)
        return func(*args, **kwargs or {})


def try_one(model, precision, optimizer, implementation, setting="", **changes):
    """Trains one leg without values, then again with an answer to whatever it asked for."""
    settings = TrainingConfig(
        batch_size=4,
        steps=2,
        warmup_steps=1,
        validation_samples=4,
        optimizer=optimizer,
        optimizer_implementation=implementation,
        **changes,
    )
    spec = MODELS[model].model_copy(update={"dropout": 0.1} if setting == "dropout" else {})
    row = Row(model, precision, optimizer, implementation, setting, "ok")
    try:
        waited = _train(spec, PRECISIONS[precision], settings)
        if waited:
            row = replace(row, outcome="waits", detail=waited)
            _train(spec, PRECISIONS[precision], settings, answering=True)
    except Exception as error:  # whatever goes wrong is what this is to find out
        said = str(error).strip().splitlines() or [""]
        return replace(row, outcome="failed", detail=f"{type(error).__name__}: {said[0][:200]}")
    return row


def _train(spec, precision, settings, answering=False):
    """What the step waited for, or nothing. Raises whatever else goes wrong."""
    data = data_of(spec, settings)
    with driverless_cuda.fake_mode() as fake:
        with DEVICE:  # a module that holds fake tensors cannot be moved
            model = blueprint_of(spec).build()
        _hold(model, precision.weights_dtype)
        if settings.activation_checkpointing:
            checkpoint_activations(model)
        memory_format = torch.channels_last if settings.channels_last else torch.preserve_format
        if settings.channels_last:
            _lay_out(model)
        place = Place(DEVICE, memory_format)
        batches, held_out = (
            [place.put(map_tensors(fake.from_tensor, batch)) for batch in part]
            for part in (data.training, data.validation)
        )
        # The rate lies on the device: SGD asks whether it is negative, Adam whether it is positive.
        with Answers(settings.optimizer != "sgd"):
            run = prepare(model, blueprint_of(spec).task, precision, settings, DEVICE)
        assert run.scaler.is_enabled() == precision.uses_grad_scaler
        watch = SynchronisationWatch(DEVICE)
        try:
            with Answers(0) if answering else contextlib.nullcontext():
                _whole_leg(run, batches, watch)
        except (DataDependentOutputException, DynamicOutputShapeException):
            return ", ".join(watch.found())
        assert answering or not watch.found(), watch.found()
        if (settings.optimizer, settings.implementation) == OPTIMIZERS[0]:  # the others differ in their step alone
            _examine(run, batches[0], precision)
            _hold(model, torch.float32)
            with Answers(1):
                validate(model, run.task, held_out)
    return ""


def _hold(model, dtype):
    """Casts a model with new parameters: those that hold fake tensors cannot be changed. Tied weights stay tied."""
    cast = {}
    for module in model.modules():
        for values, new in ((module._parameters, torch.nn.Parameter), (module._buffers, torch.Tensor.detach)):
            for name, value in values.items():
                if value is not None and value.is_floating_point() and value.dtype is not dtype:
                    cast[value] = cast[value] if value in cast else new(value.detach().to(dtype))
                    values[name] = cast[value]


def _lay_out(model):
    """In `channels_last`, by new parameters, for the same reason."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.dim() == 4:
                laid_out = parameter.detach().to(memory_format=torch.channels_last)
                setattr(module, name, torch.nn.Parameter(laid_out))


def _whole_leg(run, batches, watch):
    steps, peaks = run.settings.steps, CudaPeaks(DEVICE)
    clock = make_clock(DEVICE, steps)
    assert isinstance(clock, CudaClock)
    curves = Curves.empty(steps, DEVICE)
    with watch:
        hooks = LoopHooks(peaks.after_first_step, peaks.before_measured, lambda: None, lambda step: None)
        train(run, ResidentFeed(batches), clock, curves, hooks)
    peaks.after_training()
    assert len(clock.step_seconds()) == steps - run.settings.warmup_steps
    on_device = [*run.parameters, *vars(curves).values(), run.learning_rate.value, run.learning_rate.applied_steps]
    assert {tensor.device for tensor in on_device} == {DEVICE}
    assert {tensor.dtype for tensor in run.parameters} == {run.held_in}


def _examine(run, batch, precision):
    observed = observe_step(run, batch)
    dtypes = {dtype for seen in observed.forward_dtypes.values() for dtype in seen}
    assert dtypes == {precision.matmul_dtype_name}, observed.forward_dtypes
    peaks = CudaPeaks(DEVICE)
    peaks.after_first_step()
    peaks.after_training()
    break_down(account_for_step(run, batch), memory_on_cuda(run, 0, peaks, 0).peak_bytes)


def install_example(folder):
    """The example of a plugin, as a package manager would leave it."""
    facts = Path(folder, "halftime_example-1.0.dist-info")
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: halftime-example\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[halftime.models]\ngated-mlp = halftime_example:gated_mlp\n")
    sys.path[:0] = [str(folder), str(EXAMPLE_PLUGIN)]


def all_combinations():
    """Of models, precisions and optimizers."""
    return itertools.product(MODELS, PRECISIONS, OPTIMIZERS)


def quick_combinations():
    """Every model in every precision; and every other optimizer in every precision, of each thorough model in turn."""
    yield from itertools.product(MODELS, PRECISIONS, OPTIMIZERS[:1])
    for turn, optimizer in enumerate(OPTIMIZERS[1:]):
        for number, precision in enumerate(PRECISIONS):
            yield THOROUGH[(turn + number) % len(THOROUGH)], precision, optimizer


def rows(quick=False):
    """Every combination; in a quick run, every pair of a model or an optimizer with a precision, and of those two."""
    for model, precision, (optimizer, implementation) in quick_combinations() if quick else all_combinations():
        yield try_one(model, precision, optimizer, implementation)
    for setting, (model, changes) in SETTINGS.items():
        for precision in ["fp16"] if quick else PRECISIONS:
            yield try_one(model, precision, "adamw", "fused", setting, **changes)


def table(found):
    """In Markdown: a row for each model and precision, or setting; a column for each optimizer."""
    columns = [f"{optimizer}, {implementation}" for optimizer, implementation in OPTIMIZERS]
    yield f"| model | precision | {' | '.join(columns)} |"
    yield "| --- " * (2 + len(columns)) + "|"
    cells, waited = {}, set()
    for row in found:
        named = f"{row.model}, {row.setting}" if row.setting else row.model
        line = cells.setdefault((named, row.precision), dict.fromkeys(columns, ""))
        waited |= {row.detail} if row.outcome == "waits" else set()
        line[f"{row.optimizer}, {row.implementation}"] = (
            f"failed: {row.detail}" if row.outcome == "failed" else row.outcome
        )
    for (model, precision), line in cells.items():
        yield f"| {model} | {precision} | {' | '.join(line.values())} |"
    yield f"\nWhat waits: {'; '.join(sorted(waited)) or 'nothing'}. All else of those steps is well."


def main():
    """Prints the table; with `--quick`, a line of JSON for each combination, and not all of them."""
    warnings.simplefilter("error")
    driverless_cuda.answer()
    with tempfile.TemporaryDirectory() as folder:
        install_example(folder)
        if "--quick" in sys.argv:
            for row in rows(quick=True):
                print(json.dumps(asdict(row)), flush=True)
            return
        print("\n".join(table(rows())))
    print("\nNot covered:")
    print("\n".join(f"- {what}" for what in NOT_COVERED))


if __name__ == "__main__":
    main()
