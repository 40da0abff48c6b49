"""Warnings about precisions: a gradient scaler that overflows, TF32 that was not used, a leg compared with its like."""

from collections.abc import Iterator

from halftime.contract.report.trial import TrialResult
from worker.comparison.comparison_run import ComparisonRun, LegRun
from worker.training.precision_facts import FACTS, LARGEST_FP32_ERROR

#: Convolution modules, by class name.
CONVOLUTIONS = {"Conv1d", "Conv2d", "Conv3d"}

#: Skipped steps after warm-up that count as repeated overflow: the scaler skips a few while it probes larger scales.
REPEATED_OVERFLOWS = 3


def about_the_precisions(measured: ComparisonRun) -> Iterator[str]:
    """Yields what a leg's precision does to its training."""
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


def _skips_after_warmup(trial: TrialResult) -> int:
    skipped = trial.grad_scaler.skipped_steps if trial.grad_scaler else []
    warmup = len(trial.loss_curve) - len(trial.step_seconds)
    return sum(step >= warmup for step in skipped)


def _about_tf32(leg: LegRun) -> Iterator[str]:
    """Warns if no probe used TF32: a library is allowed to, but not required to."""
    trains_convolutions = any(CONVOLUTIONS & trial.attestation.forward_dtypes.keys() for trial in leg.measured_alone)
    work = {"matmul_probe": "matrix product"} | ({"convolution_probe": "convolution"} if trains_convolutions else {})
    probes = [probe for trial in leg.measured_alone for probe in trial.attestation.probes if probe.errors]
    for name, what in work.items():
        errors = [error for probe in probes if probe.name == name for error in probe.errors.values()]
        if errors and all(error is not None and error <= LARGEST_FP32_ERROR for error in errors):
            yield (
                f"{leg.precision}: none of the {what} probes was computed in TF32, though TF32 is allowed. The leg may "
                "have trained in FP32; its speedup then does not describe TF32."
            )
