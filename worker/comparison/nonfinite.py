"""Why a leg's loss is not finite, from its trial's samples, and what to change."""

import math

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.trial import GradScalerTrace, TrialResult
from halftime.contract.request.training import GradScalerConfig
from worker.comparison.comparison_run import ComparisonRun, LegRun

#: Largest finite number in FP16: (2 - 2^-10) x 2^15.
LARGEST_FP16 = 65_504


def nonfinite(comparison: ComparisonRun, leg: LegRun, trial: TrialResult) -> Failure | None:
    """Returns a failure if the loss is not finite in a step that changed the weights, at validation, or if none did.

    None for a finite loss, and for a short trial without an applied step: its scale may still be decreasing.
    """
    why = _why(comparison, leg, trial)
    if why is None:
        return None
    return Failure.of(FailureCode.NONFINITE_LOSS, f"{leg.name}, block {trial.block + 1}: {why}")


def _why(comparison: ComparisonRun, leg: LegRun, trial: TrialResult) -> str | None:
    scaler = trial.grad_scaler
    if scaler is not None and trial.applied_steps == 0:
        return None if trial.ended_early else _none_applied(comparison, leg, trial, scaler)
    skipped = set(scaler.skipped_steps) if scaler else set()
    broken = [step for step, loss in enumerate(trial.loss_curve) if loss is None and step not in skipped]
    if broken:
        return _at_step(comparison, leg, trial, broken[0])
    if trial.validation_loss is None and trial.validation_share > 0:
        return f"the loss was finite in training, but not at validation. {_calmer(comparison)}"
    return None


def _at_step(comparison: ComparisonRun, leg: LegRun, trial: TrialResult, step: int) -> str:
    """The loss of an applied step was not finite: training diverged, or it was not finite to begin with."""
    finite = [loss for loss in trial.loss_curve[:step] if loss is not None]
    if finite:
        return (
            f"training diverged: the loss was {finite[0]:.3g} at first, {finite[-1]:.3g} before step {step + 1}, and "
            f"not finite there. {_calmer(comparison)}"
        )
    same = comparison.baseline.by_block().get(trial.block)
    contrast = (
        f" In {comparison.baseline.name} it was finite, so the model leaves the range of {leg.precision}."
        if leg is not comparison.baseline and same is not None and same.loss_curve[0] is not None
        else ""
    )
    return (
        f"the loss was not finite in step {step + 1}, before any update could diverge.{contrast} Check the data, and "
        "the model for operations that overflow or divide by zero."
    )


def _calmer(comparison: ComparisonRun) -> str:
    clips = comparison.request.config.training.max_grad_norm is not None
    return f"Lower the learning rate{', or max_grad_norm' if clips else ', or set max_grad_norm'}."


def _none_applied(comparison: ComparisonRun, leg: LegRun, trial: TrialResult, scaler: GradScalerTrace) -> str:
    """The gradient scaler skipped every step: for an overflow of the forward pass, or of the scaled gradients."""
    skipped = f"no step was applied: the gradient scaler skipped all {len(trial.loss_curve)} steps, because"
    wider = _wider_range(comparison)
    if scaler.largest_input is not None and scaler.largest_input > LARGEST_FP16:
        return (
            f"{skipped} inputs are as large as {scaler.largest_input:.3g}, and fp16 ends at {LARGEST_FP16:,}. Scale "
            f"the inputs down{wider}."
        )
    if trial.loss_curve[0] is None:
        first = f", in {scaler.first_overflow[0]} first" if scaler.first_overflow else ""
        return (
            f"{skipped} the forward pass itself leaves the range of fp16, which ends at {LARGEST_FP16:,}{first}. A "
            f"smaller loss scale does not help. Keep activations smaller{wider}."
        )
    return f"{skipped} {_scale_too_high(comparison, leg, trial, scaler, wider)}"


def _scale_too_high(
    comparison: ComparisonRun, leg: LegRun, trial: TrialResult, scaler: GradScalerTrace, wider: str
) -> str:
    """Gradients overflowed at every scale; the comparison of one step with FP64 knows one at which they do not."""
    config, scale = comparison.request.config.training.grad_scaler, scaler.final_scale
    fell = (
        f"the scaled gradients overflowed. The scale fell from {scaler.initial_scale:g} to {scale:g}, by a factor of "
        f"{config.backoff_factor:g} a step."
    )
    numerics = (leg.measured_alone or [trial])[0].numerics
    if numerics is not None and numerics.gradient_relative_rmse is None:
        return f"{fell} At the initial weights, no scale makes gradients finite: check the model{wider}."
    if numerics is None or numerics.loss_scale >= scale:  # other samples need a smaller scale than those of numerics
        return f"{fell} Set grad_scaler.init_scale to less than {scale:g}, or use more steps{wider}."
    needed = _steps_down_to(numerics.loss_scale, scaler.initial_scale, config)
    return (
        f"{fell} At the initial weights, the gradients of {numerics.samples} samples are finite at a scale of "
        f"{numerics.loss_scale:g}: set grad_scaler.init_scale to {numerics.loss_scale:g}, or warmup_steps to more than "
        f"{needed}, the steps that it takes to come down to it."
    )


def _steps_down_to(scale: float, initial_scale: float, config: GradScalerConfig) -> int:
    """Number of skipped steps until the scale is at most `scale`."""
    return math.ceil(math.log(initial_scale / scale) / -math.log(config.backoff_factor) - 1e-9)


def _wider_range(comparison: ComparisonRun) -> str:
    """Advice to use BF16, unless the device lacks it."""
    support = comparison.device.support_of("bf16")
    return "" if support is not None and support.kernels == "absent" else ", or use bf16, which has the range of fp32"
