"""Warnings of a report: conditions that limit how far its figures can be trusted, each with a remedy."""

import statistics
from collections.abc import Iterator
from itertools import groupby

from halftime.contract.models import (
    ConvnetSpec,
    DiffusersSpec,
    DitSpec,
    DlrmSpec,
    LayersSpec,
    MlpSpec,
    ModelSpec,
    TransformerSpec,
    TransformersSpec,
)
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.numerics import Numerics
from halftime.contract.report.trial import TrialResult, metrics_of
from halftime.contract.request.training import TrainingConfig
from worker.comparison.comparison_run import ComparisonRun, LegRun, median_step, paired
from worker.report.multiplied import about_multiplications
from worker.training.pace import NO_TIME
from worker.training.precision_facts import FACTS, LARGEST_FP32_ERROR

#: Tensor cores are fully used with dimensions in multiples of this (NVIDIA, "Matrix Multiplication Background User's
#: Guide").
TENSOR_CORE_MULTIPLE = 8

#: Config settings that set the dimensions of matrix products.
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

#: Wording for the result that each examination provides.
EXAMINATIONS = {
    "forward_dtypes": "check of the dtypes of its matrix products",
    "memory": "memory figure",
    "memory_breakdown": "breakdown of its memory peak",
    "numerics": "comparison of a step with FP64",
    "first_overflow": "search for the first module that overflowed",
    "ceiling": "rate of the fastest matrix product",
    "probes": "probe of its arithmetic",
}


#: Convolution modules, by class name.
CONVOLUTIONS = {"Conv1d", "Conv2d", "Conv3d"}

#: Skipped steps after warm-up that count as repeated overflow: the scaler skips a few while it probes larger scales.
REPEATED_OVERFLOWS = 3

#: Smallest error that the ratio is computed with: below it, any error is accepted.
MIN_EXPLAINED_ERROR = 1e-7

#: Ratio of a step's issue time to its duration above which the host, not the GPU, limits throughput.
HOST_BOUND = 0.9

#: Largest final wait for the device, as a share of a step, at which the host can be the bottleneck. A device that lags
#: behind has up to 1024 kernels queued at that point, a large part of most steps.
SHORT_WAIT_SHARE = 0.1

#: Share of unmoved weights above which not even the median weight was moved.
MEDIAN = 0.5

#: Share of the measured time spent waiting for data above which the loader affects the speedup.
LOADER_BOUND = 0.1


def warnings_of(measured: ComparisonRun) -> list[str]:
    """Returns every warning that applies."""
    return [
        *_about_the_device(measured),
        *_about_emulation(measured),
        *_about_the_time(measured),
        *_about_the_legs(measured),
        *_about_the_settings(measured),
        *_about_the_quality(measured),
        *(warning for leg in measured.legs if leg.trials for warning in _about_the_trials(leg, measured)),
        *_about_the_blocks(measured),
    ]


def _about_the_device(measured: ComparisonRun) -> Iterator[str]:
    if measured.request.config.device == "auto" and measured.device.kind == "cpu":
        yield "device `auto` found no CUDA worker and ran on the CPU: the figures do not apply to a GPU."
    measurement = measured.request.config.measurement
    if measurement.capacity and measured.device.kind == "cpu" and measurement.capacity_memory_mib is None:
        yield "The largest batch was not searched for: on a CPU, set measurement.capacity_memory_mib."
    odd = [name for name, size in _dimensions(measured.request.model) if size % TENSOR_CORE_MULTIPLE]
    if odd and measured.device.kind == "cuda":
        yield f"{', '.join(odd)} is not a multiple of {TENSOR_CORE_MULTIPLE}: half precision may not use tensor cores."


def _about_emulation(measured: ComparisonRun) -> Iterator[str]:
    for precision in dict.fromkeys(leg.precision for leg in measured.legs):
        support = measured.device.support_of(precision)
        if support is not None and support.kernels == "emulated":
            yield f"{precision} is emulated. {support.remedy}"


def _about_the_time(measured: ComparisonRun) -> Iterator[str]:
    """Yields what the time budget shortened or left out."""
    steps = measured.request.config.training.steps
    for leg in measured.legs:
        shortened = [len(trial.loss_curve) for trial in leg.trials if trial.ended_early]
        if shortened:
            yield (
                f"{leg.name}: {len(shortened)} of {len(leg.trials)} trials ended after {_range(shortened)} of {steps} "
                "steps, for lack of time. Losses and accuracies are those after that many steps, and are compared only "
                "between trials with equally many."
            )
        warmup = [len(trial.loss_curve) - len(trial.step_seconds) for trial in leg.trials]
        requested = measured.request.config.training.warmup_steps
        if warmup and min(warmup) < requested:
            yield (
                f"{leg.name}: warm-up had {_range(warmup)} of {requested} steps, for lack of time: the measured steps "
                "may include one-time costs of the first steps."
            )
        if any(trial.validation_share < 1 for trial in leg.trials):
            yield f"{leg.name}: validated on only part of the held-out data, for lack of time."
    # The duration of a leg without a trial is unknown.
    if all(leg.trials for leg in measured.legs) and any(
        trial.ended_early for leg in measured.legs for trial in leg.trials
    ):
        yield (
            f"For full-length trials in {measured.request.config.measurement.min_blocks} blocks, set "
            f"time_budget_seconds to about {_seconds_for_whole_trials(measured):.0f}."
        )


def _range(numbers: list[int]) -> str:
    return str(numbers[0]) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def _seconds_for_whole_trials(measured: ComparisonRun) -> float:
    """Estimates the seconds of `min_blocks` blocks with all steps of every leg, with the overhead measured here."""
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
            yield f"Both legs are {leg.precision} (an A/A run): any difference between them is noise."
        trained = [trial for trial in leg.trials if trial.applied_steps]  # else the leg's failure says why none was
        unsettled = [trial.block for trial in trained if trial.grad_scaler and trial.grad_scaler.unsettled_after_warmup]
        if unsettled:
            yield (
                f"{leg.precision}: the loss scale had not settled by the end of warm-up in {len(unsettled)} trial(s): "
                "the measured steps may include skipped ones. Raise warmup_steps, or use bf16."
            )

        overflowing = [trial.block for trial in trained if _skips_after_warmup(trial) >= REPEATED_OVERFLOWS]
        if overflowing:
            yield (
                f"{leg.precision}: gradients kept overflowing after warm-up in {len(overflowing)} trial(s). Each "
                "skipped step discards a batch. Use bf16, which has the range of fp32."
            )
    for leg in measured.legs:
        if FACTS[leg.precision].fp32_precision == "tf32":
            yield from _about_tf32(leg)


def _about_tf32(leg: LegRun) -> Iterator[str]:
    """Warns if no probe used TF32: a library is allowed to, but not required to."""
    trains_convolutions = any(CONVOLUTIONS & trial.attestation.forward_dtypes.keys() for trial in leg.trials)
    work = {"matmul_probe": "matrix product"} | ({"convolution_probe": "convolution"} if trains_convolutions else {})
    probes = [probe for trial in leg.trials for probe in trial.attestation.probes if probe.errors]
    for name, what in work.items():
        errors = [error for probe in probes if probe.name == name for error in probe.errors.values()]
        if errors and all(error is not None and error <= LARGEST_FP32_ERROR for error in errors):
            yield (
                f"{leg.precision}: none of the {what} probes was computed in TF32, though TF32 is allowed. The leg may "
                "have trained in FP32; its speedup then does not describe TF32."
            )


def _about_the_quality(measured: ComparisonRun) -> Iterator[str]:
    """Warns if no requirement is on a metric of the trained model: then training that learns nothing may pass."""
    trials = [trial for leg in measured.legs for trial in leg.trials]
    metrics = [metric.name for metric in metrics_of(trials[0].data if trials else None)]
    wanted = measured.request.requirements.of_task(metrics)
    if wanted.max_accuracy_difference or wanted.max_loss_difference or wanted.max_metric_differences:
        return
    named = [name for name in metrics if name not in {"loss", "accuracy"}]
    further = f", or requirements.max_metric_differences ({', '.join(named)})" if named else ""
    own = "max_accuracy_difference or " if "accuracy" in metrics else ""
    yield (
        "No requirement judges what the models learned: the verdict is on speed and memory alone. Set requirements."
        f"{own}max_loss_difference{further}."
    )


def _about_the_settings(measured: ComparisonRun) -> Iterator[str]:
    training = measured.request.config.training
    scaled = [leg.precision for leg in measured.legs if FACTS[leg.precision].uses_grad_scaler]
    if training.implementation == "foreach" and scaled:
        yield (
            f"{scaled[0]}: {training.optimizer} is not fused, so the gradient scaler waits for the device in every "
            "step. The figures include this cost, which comes from the optimizer's implementation."
        )
    loader = measured.request.config.data.loader
    if measured.device.kind == "cuda" and loader is not None and not loader.pin_memory:
        yield (
            "loader.pin_memory is false: the host may wait for the device in every step before it copies the batch "
            '(CUDA Runtime API, "API synchronization behavior"). Set it to true.'
        )
    for leg in measured.legs:
        compilations = [trial.compilation for trial in leg.trials if trial.compilation]
        recompiled = [one for one in compilations if one.recompiles_in_measured_steps]
        if recompiled:
            yield (
                f"{leg.precision}: torch.compile recompiled during the measured steps of {len(recompiled)} of "
                f"{len(compilations)} trials, and their times include it. Raise warmup_steps, or set compile to null."
            )


def _about_the_trials(leg: LegRun, measured: ComparisonRun) -> Iterator[str]:
    disturbed = [trial for trial in leg.trials if trial.disturbances]
    if disturbed:
        blocks = ", ".join(str(trial.block + 1) for trial in disturbed)
        yield (
            f"{leg.precision}: {len(disturbed)} of {len(leg.trials)} trials were disturbed (block {blocks}). First "
            f"disturbed trial: {'; '.join(disturbed[0].disturbances)}. Repeat the benchmark when the machine is idle."
        )
    yield from _about_what_is_missing(leg)
    yield from about_multiplications(leg, measured.request.model)
    numerics = leg.trials[0].numerics
    if numerics is not None and not _is_explained(numerics, leg.precision):
        layers = ", ".join(layer.name for layer in numerics.worst_layers)
        yield (
            f"{leg.precision}: the gradient of one step is off from FP64's by "
            f"{_percent(numerics.gradient_relative_rmse)} (relative RMSE), of which rounding explains "
            f"{_percent(numerics.explained_relative_rmse)}. Worst layers: {layers}."
        )
    yield from _about_unmoved_weights(leg, measured)
    share = data_wait_share(leg.trials)
    if share is not None and share > LOADER_BOUND:
        yield (
            f"{leg.precision}: loader-bound. {share:.0%} of the measured time was spent waiting for data, which no "
            "precision speeds up. Raise loader.workers, make samples cheaper, or omit the loader."
        )
    if measured.device.kind == "cuda":
        yield from _about_waiting(leg, measured.request.config.training)
        if any(trial.telemetry.gpu is None or trial.telemetry.gpu.foreign_processes is None for trial in leg.trials):
            yield f"{leg.precision}: NVML could not report whether other processes used the GPU."


def _about_unmoved_weights(leg: LegRun, measured: ComparisonRun) -> Iterator[str]:
    """Warns if weights in BF16 were too coarse for the median update: a smaller one than half their spacing is lost."""
    share, of_baseline = (_unmoved_share(one) for one in (leg, measured.baseline))
    if FACTS[leg.precision].weights == "float32" or share is None or share <= MEDIAN or leg is measured.baseline:
        return
    beside = "" if of_baseline is None else f", and {_percent(of_baseline)} in {measured.baseline.name}"
    if of_baseline is None or share > of_baseline:
        yield (
            f"{leg.name}: {_percent(share)} of the weights are where they began{beside}: updates below half of BF16's "
            "resolution (a relative 2⁻⁹ to 2⁻⁸) round to nothing. Use bf16, which keeps weights in FP32, or a higher "
            "learning rate."
        )


def _unmoved_share(leg: LegRun) -> float | None:
    return leg.trials[0].unmoved_weight_share if leg.trials else None


def _about_what_is_missing(leg: LegRun) -> Iterator[str]:
    """Yields what was not examined in the leg's first trial."""
    missing = leg.trials[0].not_examined
    no_time = [what for name, what in EXAMINATIONS.items() if missing.get(name, "").startswith(NO_TIME)]
    if no_time:
        yield f"{leg.name}: no {', no '.join(no_time)}, {NO_TIME}. Raise measurement.time_budget_seconds."
    for name, what in EXAMINATIONS.items():
        if name in missing and not missing[name].startswith(NO_TIME):
            yield f"{leg.name}: no {what}: {missing[name]}."


def _sync_source(training: TrainingConfig) -> str:
    """Names what may synchronise: without a fused optimizer, the scaler reads `found_inf`; Adafactor reads norms."""
    if training.implementation == "fused":
        return "the model or its loss"
    return f"{training.optimizer} (foreach), its gradient scaler, the model, or its loss"


def _about_waiting(leg: LegRun, training: TrainingConfig) -> Iterator[str]:
    waits = leg.trials[0].synchronisations
    if waits:
        yield (
            f"{leg.precision}: every step waits for the device ({', '.join(waits)}), because {_sync_source(training)} "
            "reads values from it."
        )
    share = statistics.median(trial.host_issue_seconds / median_step(trial) for trial in leg.trials)
    if share > HOST_BOUND and not waits and _final_wait_share(leg.trials) < SHORT_WAIT_SHARE:
        yield (
            f"{leg.precision}: launch-bound. Issuing a step takes the host {share:.0%} of the step's time, so the GPU "
            "waits for the host. A larger batch or model would use the GPU more, and change the speedup."
        )


def _final_wait_share(trials: list[TrialResult]) -> float:
    """The last wait for the device as a share of a step, median over trials; 0 if no trial recorded it."""
    waits = [trial.final_wait_seconds / median_step(trial) for trial in trials if trial.final_wait_seconds is not None]
    return statistics.median(waits) if waits else 0.0


def data_wait_share(trials: list[TrialResult]) -> float | None:
    """Share of the measured time spent waiting for the data loader, median over trials; None without a loader."""
    shares = [
        trial.data_wait_seconds / trial.measured_wall_seconds for trial in trials if trial.data_wait_seconds is not None
    ]
    return statistics.median(shares) if shares else None


def _is_explained(numerics: Numerics, precision: PrecisionName) -> bool:
    """Whether the gradient's error against FP64 is about what rounding explains."""
    off, explained = numerics.gradient_relative_rmse, numerics.explained_relative_rmse
    if off is None or explained is None:
        return False
    return off <= FACTS[precision].max_error_ratio * max(explained, MIN_EXPLAINED_ERROR)


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
            "before an interruption. Device, versions and request were identical."
        )
    if measured.blocks % 2 and measured.blocks > 1 and measured.can_compare():
        out_of_time = measured.stopped_by == "time_budget"
        remedy = "Raise measurement.time_budget_seconds, which ended it there" if out_of_time else "Use an even number"
        yield f"{measured.blocks} blocks is an odd number, so linear drift does not cancel. {remedy}."
    least = measured.request.config.measurement.min_blocks
    if measured.stopped_by == "time_budget" and measured.blocks < least:
        pairs = max(len(paired(measured.baseline, leg)) for leg in measured.candidates)
        effect = "the intervals are wide" if pairs >= 2 else "no interval can be computed"
        yield f"The time budget ended after {measured.blocks} of at least {least} blocks: {effect}."
    facts = measured.legs[0].trials[0].data if measured.legs[0].trials else None
    steps = measured.request.config.training.steps
    if facts and facts.distinct_batches < steps:
        yield f"The training data repeats after {facts.distinct_batches} of {steps} batches: its size is limited."


def _dimensions(model: ModelSpec) -> list[tuple[str, int]]:  # noqa: PLR0911 # one return for every kind
    if isinstance(model, MlpSpec):
        return [("input_size", model.input_size), ("hidden_size", model.hidden_size)]
    if isinstance(model, ConvnetSpec):
        return [("widths", width) for width in model.widths]
    if isinstance(model, LayersSpec):  # without the last, whose width is the number of classes or tokens
        return [(f"a layer's width of {width}", width) for width in dict.fromkeys(model.matrix_widths()[:-1])]
    if isinstance(model, TransformerSpec):
        return [("vocab_size", model.vocab_size), ("hidden_size", model.hidden_size)]
    if isinstance(model, TransformersSpec):
        return [(f"config.{name}", size) for name, size in model.settings.items() if name in TRANSFORMERS_WIDTHS]
    if isinstance(model, DitSpec):
        return [("hidden_size", model.hidden_size)]
    if isinstance(model, DlrmSpec):
        bottom, top = ([(name, width) for width in getattr(model, name)] for name in ("bottom_widths", "top_widths"))
        return [("embedding_dim", model.embedding_dim), *bottom, *top]
    if isinstance(model, DiffusersSpec):
        return [("config.block_out_channels", width) for width in _block_widths(model)]
    return []


def _block_widths(model: DiffusersSpec) -> list[int]:
    widths = model.config.get("block_out_channels", [])
    return [width for width in widths if isinstance(width, int)] if isinstance(widths, list) else []
