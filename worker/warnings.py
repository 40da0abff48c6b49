"""What a reader of a report should know before believing its figures; each with what to do about it."""

from collections.abc import Iterator

from app.contract.models import ConvnetSpec, MlpSpec, ModelSpec
from app.contract.trial import TrialResult
from worker.comparison import Comparison

#: Tensor cores want dimensions in multiples of this (NVIDIA, "Matrix Multiplication Background User's Guide").
TENSOR_CORE_MULTIPLE = 8

#: Skipped steps after warm-up: one may be the scale feeling for its limit, as many as this are not.
KEEPS_OVERFLOWING = 3


def warnings_of(measured: Comparison) -> list[str]:
    """Every warning that applies, in words."""
    return [*_about_the_device(measured), *_about_the_legs(measured), *_about_the_blocks(measured)]


def _about_the_device(measured: Comparison) -> Iterator[str]:
    if measured.request.config.device == "auto" and measured.device.kind == "cpu":
        yield "device `auto` found no CUDA worker and ran on the CPU: the figures say nothing about a GPU."
    odd = [name for name, size in _dimensions(measured.request.model) if size % TENSOR_CORE_MULTIPLE]
    if odd and measured.device.kind == "cuda":
        yield f"{', '.join(odd)} is no multiple of {TENSOR_CORE_MULTIPLE}: half precision may miss the tensor cores."


def _about_the_legs(measured: Comparison) -> Iterator[str]:
    for leg in measured.candidates:
        if leg.precision == measured.baseline.precision:
            yield f"Both legs are {leg.precision}: an A/A run. Any difference it shows is noise."
        unsettled = [
            trial.block for trial in leg.trials if trial.grad_scaler and trial.grad_scaler.unsettled_after_warmup
        ]
        if unsettled:
            yield (
                f"{leg.precision}: the loss scale had not settled after warm-up in {len(unsettled)} trial(s). Skipped "
                "steps are among the measured ones: raise warmup_steps, or use bf16."
            )

        overflowing = [trial.block for trial in leg.trials if _skips_after_warmup(trial) >= KEEPS_OVERFLOWING]
        if overflowing:
            yield (
                f"{leg.precision}: gradients kept overflowing after warm-up in {len(overflowing)} trial(s). A skipped "
                "step is a batch not learned from: use bf16, which has the range of fp32."
            )


def _skips_after_warmup(trial: TrialResult) -> int:
    skipped = trial.grad_scaler.skipped_steps if trial.grad_scaler else []
    warmup = len(trial.loss_curve) - len(trial.step_seconds)
    return sum(step >= warmup for step in skipped)


def _about_the_blocks(measured: Comparison) -> Iterator[str]:
    if measured.blocks % 2 and measured.can_compare():
        yield f"{measured.blocks} blocks is an odd number: a drift of the machine does not cancel. Use an even one."
    least = measured.request.config.measurement.min_blocks
    if measured.stopped_by == "time_budget" and measured.blocks < least:
        yield f"The time budget ended after {measured.blocks} of at least {least} blocks: the intervals are wide."
    facts = measured.legs[0].trials[0].data if measured.legs[0].trials else None
    steps = measured.request.config.training.steps
    if facts and facts.distinct_batches < steps:
        yield f"The training data repeats after {facts.distinct_batches} of {steps} batches: it is bounded in size."


def _dimensions(model: ModelSpec) -> list[tuple[str, int]]:
    if isinstance(model, MlpSpec):
        return [("input_size", model.input_size), ("hidden_size", model.hidden_size)]
    if isinstance(model, ConvnetSpec):
        return [("widths", width) for width in model.widths]
    return [("vocab_size", model.vocab_size), ("hidden_size", model.hidden_size)]
