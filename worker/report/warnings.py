"""What a reader of a report should know before believing its figures; each with what to do about it."""

import statistics
from collections.abc import Iterator
from itertools import groupby

from halftime.contract.models import ConvnetSpec, LayersSpec, MlpSpec, ModelSpec, TransformerSpec, TransformersSpec
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.numerics import Numerics
from halftime.contract.report.trial import TrialResult
from halftime.contract.request.training import TrainingConfig
from worker.comparison.legs import ComparisonRun, LegRun, median_step, paired
from worker.training.pace import NO_TIME
from worker.training.precision_facts import FACTS, LARGEST_FP32_ERROR

#: Tensor cores want dimensions in multiples of this (NVIDIA, "Matrix Multiplication Background User's Guide").
TENSOR_CORE_MULTIPLE = 8

#: What architectures call the dimensions that products of matrices have.
TRANSFORMERS_WIDTHS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "n_embd",
    "d_model",
    "d_ff",
    "dim",
    "hidden_dim",
)

#: What a report lacks where an examination found nothing.
EXAMINATIONS = {
    "forward_dtypes": "proof of the dtypes in which it multiplied",
    "memory": "memory figure",
    "memory_breakdown": "account of what its memory peak consists of",
    "numerics": "comparison of a step with FP64",
    "first_overflow": "search for where numbers first overflowed",
    "ceiling": "rate of the fastest matrix product",
}


#: Modules whose work is convolution, as trials name them.
CONVOLUTIONS = {"Conv1d", "Conv2d", "Conv3d"}

#: Skipped steps after warm-up: one may be the scale feeling for its limit, as many as this are not.
KEEPS_OVERFLOWING = 3

#: The error of a gradient that is so small that nothing need explain it.
LEAST_EXPLAINED = 1e-7

#: Time to issue a step over the time of a step, beyond which the host, not the GPU, sets the pace.
HOST_BOUND = 0.9

#: Of a step's time: what the host waits for the device at the end of the measured region at most, where the host sets
#: the pace. A device that is behind has up to 1024 kernels in its queue then, a good part of most steps.
AT_ONCE = 0.1

#: The share of the measured time spent waiting for data beyond which the loader has a say in the speedup.
LOADER_BOUND = 0.1


def warnings_of(measured: ComparisonRun) -> list[str]:
    """Every warning that applies, in words."""
    return [
        *_about_the_device(measured),
        *_about_emulation(measured),
        *_about_the_time(measured),
        *_about_the_legs(measured),
        *_about_the_settings(measured),
        *(warning for leg in measured.legs if leg.trials for warning in _about_the_trials(leg, measured)),
        *_about_the_blocks(measured),
    ]


def _about_the_device(measured: ComparisonRun) -> Iterator[str]:
    if measured.request.config.device == "auto" and measured.device.kind == "cpu":
        yield "device `auto` found no CUDA worker and ran on the CPU: the figures say nothing about a GPU."
    measurement = measured.request.config.measurement
    if measurement.capacity and measured.device.kind == "cpu" and measurement.capacity_memory_mib is None:
        yield "The largest batch was not searched: on a CPU that needs measurement.capacity_memory_mib."
    odd = [name for name, size in _dimensions(measured.request.model) if size % TENSOR_CORE_MULTIPLE]
    if odd and measured.device.kind == "cuda":
        yield f"{', '.join(odd)} is no multiple of {TENSOR_CORE_MULTIPLE}: half precision may miss the tensor cores."


def _about_emulation(measured: ComparisonRun) -> Iterator[str]:
    for precision in dict.fromkeys(leg.precision for leg in measured.legs):
        support = measured.device.support_of(precision)
        if support is not None and support.kernels == "emulated":
            yield f"{precision} is emulated. {support.remedy}"


def _about_the_time(measured: ComparisonRun) -> Iterator[str]:
    """What the time budget left out."""
    steps = measured.request.config.training.steps
    for leg in measured.legs:
        shortened = [len(trial.loss_curve) for trial in leg.trials if trial.ended_early]
        if shortened:
            yield (
                f"{leg.name}: {_range(shortened)} of {steps} steps were done in {len(shortened)} of {len(leg.trials)} "
                "trials, for lack of time. Losses and accuracies are those after as many steps, and are compared only "
                "where both legs did as many."
            )
        warmup = [len(trial.loss_curve) - len(trial.step_seconds) for trial in leg.trials]
        asked = measured.request.config.training.warmup_steps
        if warmup and min(warmup) < asked:
            yield (
                f"{leg.name}: warm-up had {_range(warmup)} of {asked} steps, for lack of time: the measured steps may "
                "hold what first steps cost."
            )
        if any(trial.validation_share < 1 for trial in leg.trials):
            yield f"{leg.name}: validated on a part of the held-out data, for lack of time."
    # Of a leg without a trial nobody knows how long one takes.
    if all(leg.trials for leg in measured.legs) and any(
        trial.ended_early for leg in measured.legs for trial in leg.trials
    ):
        yield (
            f"Whole trials in {measured.request.config.measurement.min_blocks} blocks need a time_budget_seconds of "
            f"about {_seconds_for_whole_trials(measured):.0f}."
        )


def _range(numbers: list[int]) -> str:
    return str(numbers[0]) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def _seconds_for_whole_trials(measured: ComparisonRun) -> float:
    """What the least number of blocks would take with every step of every leg, and as much beside training as here."""
    config = measured.request.config
    trials = [
        max(leg.trials, key=lambda trial: trial.trial_seconds - trial.training_time_seconds) for leg in measured.legs
    ]
    seconds = [
        trial.trial_seconds - trial.training_time_seconds + config.training.steps * median_step(trial)
        for trial in trials
    ]
    return config.measurement.min_blocks * sum(seconds)


def _about_the_legs(measured: ComparisonRun) -> Iterator[str]:
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
    for leg in measured.legs:
        if FACTS[leg.precision].fp32_precision == "tf32":
            yield from _about_tf32(leg)


def _about_tf32(leg: LegRun) -> Iterator[str]:
    """A library may use TF32 where it is allowed, and need not."""
    trains_convolutions = any(CONVOLUTIONS & trial.attestation.forward_dtypes.keys() for trial in leg.trials)
    work = {"matmul_probe": "matrix product"} | ({"convolution_probe": "convolution"} if trains_convolutions else {})
    probes = [probe for trial in leg.trials for probe in trial.attestation.probes if probe.errors]
    for name, what in work.items():
        errors = [error for probe in probes if probe.name == name for error in probe.errors.values()]
        if errors and all(error is not None and error <= LARGEST_FP32_ERROR for error in errors):
            yield (
                f"{leg.precision}: no {what} of the probes was computed in TF32, though it is allowed: the leg may "
                "have trained in FP32, and its speedup then says nothing of TF32."
            )


def _about_the_settings(measured: ComparisonRun) -> Iterator[str]:
    training = measured.request.config.training
    scaled = [leg.precision for leg in measured.legs if FACTS[leg.precision].uses_grad_scaler]
    if training.implementation == "foreach" and scaled:
        yield (
            f"{scaled[0]}: {training.optimizer} is not fused, so the gradient scaler waits for the device in every "
            "step. That is a property of the optimizer's implementation, and in the figures."
        )
    loader = measured.request.config.data.loader
    if measured.device.kind == "cuda" and loader is not None and not loader.pin_memory:
        yield (
            "loader.pin_memory is false: the host may wait for the device in every step before it copies the batch "
            '(CUDA Runtime API, "API synchronization behavior"). Set it to true.'
        )
    for leg in measured.legs:
        made = [trial.compilation for trial in leg.trials if trial.compilation]
        spoiled = [one for one in made if one.recompiles_in_measured_steps]
        if spoiled:
            yield (
                f"{leg.precision}: torch.compile recompiled in the measured steps of {len(spoiled)} of {len(made)} "
                "trials, and their times hold it. Raise warmup_steps, or set compile to null."
            )


def _about_the_trials(leg: LegRun, measured: ComparisonRun) -> Iterator[str]:
    disturbed = [trial for trial in leg.trials if trial.disturbances]
    if disturbed:
        blocks = ", ".join(str(trial.block + 1) for trial in disturbed)
        yield (
            f"{leg.precision}: {len(disturbed)} of {len(leg.trials)} trials were disturbed (block {blocks}). In the "
            f"first of them, {'; '.join(disturbed[0].disturbances)}. The figures are of a busy machine: run it again "
            "when it is quiet."
        )
    yield from _about_what_is_missing(leg)
    numerics = leg.trials[0].numerics
    if numerics is not None and not _explained(numerics, leg.precision):
        layers = ", ".join(layer.name for layer in numerics.worst_layers)
        yield (
            f"{leg.precision}: the gradient of one step is {_percent(numerics.gradient_relative_rmse)} off that of "
            f"FP64, and rounding explains {_percent(numerics.explained_relative_rmse)}. Worst layers: {layers}."
        )
    share = data_wait_share(leg.trials)
    if share is not None and share > LOADER_BOUND:
        yield (
            f"{leg.precision}: loader-bound. {share:.0%} of the measured time was spent waiting for data, which no "
            "precision makes faster: raise loader.workers, make samples cheaper, or leave the loader out."
        )
    if measured.device.kind == "cuda":
        yield from _about_waiting(leg, measured.request.config.training)
        if any(trial.telemetry.gpu is None or trial.telemetry.gpu.foreign_processes is None for trial in leg.trials):
            yield f"{leg.precision}: NVML does not tell whether other processes used the GPU."


def _about_what_is_missing(leg: LegRun) -> Iterator[str]:
    """What was not examined in the leg's first trial."""
    missing = leg.trials[0].not_examined
    timeless = [what for name, what in EXAMINATIONS.items() if missing.get(name, "").startswith(NO_TIME)]
    if timeless:
        yield f"{leg.name}: {NO_TIME}, there is no {', no '.join(timeless)}. Raise measurement.time_budget_seconds."
    for name, what in EXAMINATIONS.items():
        if name in missing and not missing[name].startswith(NO_TIME):
            yield f"{leg.name}: there is no {what}: {missing[name]}."


def _who_asks(training: TrainingConfig) -> str:
    """An optimizer that is not fused makes the scaler ask whether to skip; Adafactor asks for norms besides."""
    if training.implementation == "fused":
        return "the model"
    return f"{training.optimizer} (foreach), or the gradient scaler for it, if not the model,"


def _about_waiting(leg: LegRun, training: TrainingConfig) -> Iterator[str]:
    waits = leg.trials[0].synchronisations
    if waits:
        yield (
            f"{leg.precision}: every step waits for the device ({', '.join(waits)}): {_who_asks(training)} asks it for "
            "values."
        )
    share = statistics.median(trial.host_issue_seconds / median_step(trial) for trial in leg.trials)
    if share > HOST_BOUND and not waits and _final_wait_share(leg.trials) < AT_ONCE:
        yield (
            f"{leg.precision}: launch-bound. The host takes {share:.0%} of a step's time to issue it, so the GPU waits "
            "for the host: a larger batch or model would use the GPU, and show another speedup."
        )


def _final_wait_share(trials: list[TrialResult]) -> float:
    """The last wait for the device, of a step's time, median over trials; 0 where no trial told."""
    waits = [trial.final_wait_seconds / median_step(trial) for trial in trials if trial.final_wait_seconds is not None]
    return statistics.median(waits) if waits else 0.0


def data_wait_share(trials: list[TrialResult]) -> float | None:
    """Of the measured time, waiting for the data loader, median over trials; None where data lay on the device."""
    shares = [
        trial.data_wait_seconds / trial.measured_wall_seconds for trial in trials if trial.data_wait_seconds is not None
    ]
    return statistics.median(shares) if shares else None


def _explained(numerics: Numerics, precision: PrecisionName) -> bool:
    """Whether the gradient is as near to the exact one as rounding lets expect."""
    off, explained = numerics.gradient_relative_rmse, numerics.explained_relative_rmse
    if off is None or explained is None:
        return False
    return off <= FACTS[precision].far_outside * max(explained, LEAST_EXPLAINED)


def _percent(share: float | None) -> str:
    return "an unknown amount" if share is None else f"{100 * share:.2g} %"


def _skips_after_warmup(trial: TrialResult) -> int:
    skipped = trial.grad_scaler.skipped_steps if trial.grad_scaler else []
    warmup = len(trial.loss_curve) - len(trial.step_seconds)
    return sum(step >= warmup for step in skipped)


def _about_the_blocks(measured: ComparisonRun) -> Iterator[str]:
    for (attempt, worker), kept in groupby(measured.reused, lambda kept: (kept.attempt, kept.worker)):
        indices = [one.block.index for one in kept]
        yield (
            f"Blocks {indices[0] + 1} to {indices[-1] + 1} were measured in attempt {attempt} by worker {worker}, "
            "before the benchmark was interrupted. Device, versions and request were the same."
        )
    if measured.blocks % 2 and measured.blocks > 1 and measured.can_compare():
        yield f"{measured.blocks} blocks is an odd number: a drift of the machine does not cancel. Use an even one."
    least = measured.request.config.measurement.min_blocks
    if measured.stopped_by == "time_budget" and measured.blocks < least:
        pairs = max(len(paired(measured.baseline, leg)) for leg in measured.candidates)
        effect = "the intervals are wide" if pairs >= 2 else "there is no interval"
        yield f"The time budget ended after {measured.blocks} of at least {least} blocks: {effect}."
    facts = measured.legs[0].trials[0].data if measured.legs[0].trials else None
    steps = measured.request.config.training.steps
    if facts and facts.distinct_batches < steps:
        yield f"The training data repeats after {facts.distinct_batches} of {steps} batches: it is bounded in size."


def _dimensions(model: ModelSpec) -> list[tuple[str, int]]:
    if isinstance(model, MlpSpec):
        return [("input_size", model.input_size), ("hidden_size", model.hidden_size)]
    if isinstance(model, ConvnetSpec):
        return [("widths", width) for width in model.widths]
    if isinstance(model, LayersSpec):  # but the last: its width is classes or tokens
        return [(f"a layer's width of {width}", width) for width in dict.fromkeys(model.matrix_widths()[:-1])]
    if isinstance(model, TransformerSpec):
        return [("vocab_size", model.vocab_size), ("hidden_size", model.hidden_size)]
    if isinstance(model, TransformersSpec):
        return [(f"config.{name}", size) for name, size in model.settings.items() if name in TRANSFORMERS_WIDTHS]
    return []
