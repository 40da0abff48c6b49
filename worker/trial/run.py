"""Runs one trial: trains a prepared leg, validates, and examines the result."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch

from halftime.contract.report.failure import Failure
from halftime.contract.report.slices import Slice
from halftime.contract.report.telemetry import Telemetry
from halftime.contract.report.trial import Compilation, GradScalerTrace, TrialResult
from worker.data.batches import samples_in
from worker.data.feed import Feed
from worker.data.loader_limits import loader_failure
from worker.device import device as devices
from worker.device.measured_region import MeasuredRegion
from worker.errors import TrialFailed
from worker.errors.out_of_memory import is_out_of_memory
from worker.explain.trace import hand_over
from worker.messages import KeepTrace, TrialSpec
from worker.proof.overflow import largest_input
from worker.training.clock import StepClock, make_clock
from worker.training.compilation import CompileWatch, compiled, compiler_with_cache
from worker.training.determinism import deterministic, is_deterministic
from worker.training.held import (
    digest_of,
    dtypes_held,
    in_fp32,
    unmoved_share,
)
from worker.training.loop import NOT_VALIDATED, Curves, LoopHooks, Run, Timing, Validation, prepare, train, validate
from worker.training.memory import CudaPeaks
from worker.training.pace import VALIDATION_STEP, Pace
from worker.training.precision import (
    PRECISIONS,
    set_flags,
)
from worker.training.turns import Turns, TurnTaker
from worker.trial.examination import Findings, Subject, examine
from worker.trial.preparation import Prepared, frozen_weights, prepare_run
from worker.trial.slices import slices_of
from worker.trial.training_failure import training_failure


@dataclass(frozen=True)
class Trained:
    """A trained leg and the measurements of its training."""

    run: Run
    feed: Feed
    clock: StepClock
    curves: Curves
    timing: Timing
    #: Mean duration of a step, without the first.
    step_seconds: float
    telemetry: Telemetry
    #: Empty for a whole trial.
    slices: list[Slice]
    peaks: CudaPeaks
    compilation: Compilation | None
    #: Initial scale of the gradient scaler.
    initial_scale: float
    started_at: datetime


def run_trial(
    spec: TrialSpec,
    after_step: Callable[[int], None],
    taker: TurnTaker | None = None,
    keep_trace: KeepTrace | None = None,
) -> TrialResult:
    """Trains one leg once and measures it; with a `taker`, in turns with the other legs of its block.

    An explained trial gives the packed trace of its profiled steps to `keep_trace`, if it has one. Raises TrialFailed;
    any other exception is an error of Halftime.
    """
    device = torch.device(spec.device)
    steps_done = 0

    def count(step: int) -> None:
        nonlocal steps_done
        steps_done = step
        after_step(step)

    try:
        compiler = compiler_with_cache(spec.training.compile, device, spec.compile_cache)
        with deterministic(spec.training.deterministic), compiler:
            return _run(spec, device, count, taker, keep_trace)
    except TrialFailed:
        raise
    except Exception as error:
        failure = _failure_of(error, spec, device, steps_done)
        if failure is None:
            raise
        raise TrialFailed(failure) from error


def _failure_of(error: Exception, spec: TrialSpec, device: torch.device, steps_done: int) -> Failure | None:
    """Returns the typed failure of an exception; None if it is an error of Halftime or of the device."""
    if is_out_of_memory(error):
        return devices.out_of_memory(device, error).failure
    loading = loader_failure(error) if isinstance(error, RuntimeError) else None
    return loading or training_failure(error, spec, steps_done)


def _run(
    spec: TrialSpec,
    device: torch.device,
    after_step: Callable[[int], None],
    taker: TurnTaker | None,
    keep_trace: KeepTrace | None,
) -> TrialResult:
    began = time.perf_counter()
    pace = Pace(spec.training, spec.limit, spec.max_steps, began)
    prepared = prepare_run(spec, device)
    turns = Turns(taker, pace) if taker else None
    trained = _train(spec, prepared, after_step, pace, turns)
    run, curves, feed, step_seconds = trained.run, trained.curves, trained.feed, trained.clock.step_seconds()
    applied_steps, final_learning_rate = int(run.learning_rate.applied_steps), float(run.learning_rate.value)
    held_dtypes, unmoved_share = dtypes_held(run.parameters, run.optimizer), _unmoved_share(prepared)
    frozen = _state_of_frozen(prepared)
    validates = turns is None or turns.validates
    seconds_left = (lambda: pace.seconds_left) if turns else (lambda: pace.seconds_to_validate)
    validation = _validate_in_fp32(prepared, run, seconds_left) if validates else NOT_VALIDATED
    occupied_bytes = devices.occupied_bytes(device)
    skipped_steps = [index for index, found_inf in enumerate(curves.found_infs.tolist()) if found_inf]
    findings = _examine(spec, prepared, trained, skipped_steps, pace, keep_trace)
    attestation_update = findings.attested(prepared.precision) | {
        "data_sha256": feed.sha256(prepared.attestation.data_sha256),
        "held_dtypes": held_dtypes,
        "frozen_weights": frozen,
    }
    return TrialResult(
        block=spec.block,
        seed=spec.seed,
        precision=spec.precision,
        position=spec.position,
        training_started_at=trained.started_at,
        step_seconds=step_seconds,
        slices=trained.slices,
        measured_wall_seconds=trained.timing.measured_wall_seconds,
        host_issue_seconds=trained.timing.host_issue_seconds,
        final_wait_seconds=trained.timing.final_wait_seconds,
        data_wait_seconds=feed.waited_seconds(trained.timing.steps - len(step_seconds)),
        training_time_seconds=trained.timing.training_time_seconds,
        trial_seconds=time.perf_counter() - began,
        loss_curve=_finite(curves.losses),
        gradient_norms=_finite(curves.gradient_norms),
        applied_steps=applied_steps,
        final_learning_rate=final_learning_rate,
        fused_optimizer=bool(run.optimizer.defaults.get("fused")),
        compilation=trained.compilation,
        deterministic=is_deterministic(),
        grad_scaler=_scaler_trace(prepared, trained, skipped_steps, findings.first_overflow),
        validation_loss=_finite_or_none(validation.values.get("loss", math.nan)),
        validation_accuracy=_finite_or_none(validation.values.get("accuracy", math.nan)),
        validation_metrics={
            name: _finite_or_none(value)
            for name, value in validation.values.items()
            if name not in {"loss", "accuracy"}
        },
        validation_counts=validation.counts,
        validation_share=validation.share,
        memory=findings.memory,
        attestation=prepared.attestation.model_copy(update=attestation_update),
        data=prepared.data.facts,
        environment=devices.environment(device),
        parameter_count=sum(parameter.numel() for parameter in prepared.model.parameters()),
        trained_parameter_count=sum(parameter.numel() for parameter in run.parameters),
        unmoved_weight_share=unmoved_share,
        least_flops_per_step=findings.observed.least_flops if findings.observed else None,
        ceiling_flops_per_second=findings.ceiling_flops_per_second,
        synchronisations=findings.observed.synchronisations if findings.observed else [],
        numerics=findings.numerics,
        profile=findings.profile,
        telemetry=trained.telemetry,
        occupied_bytes=occupied_bytes,
        proof_seconds=findings.seconds,
        ended_early=trained.timing.steps < spec.training.steps,
        not_examined=findings.not_examined,
    )


def _train(
    spec: TrialSpec, prepared: Prepared, after_step: Callable[[int], None], pace: Pace, turns: Turns | None
) -> Trained:
    """Runs every step of the leg, including warm-up, with clock and telemetry around the measured ones."""
    device = prepared.device
    run = prepare(prepared.model, prepared.task, prepared.precision, spec.training, device)
    if spec.training.compile is not None:
        run = replace(run, forward=compiled(prepared.model, spec.training.compile))
    initial_scale = run.scaler.get_scale()
    clock = make_clock(device, spec.training.steps)
    validation = prepared.data.validation
    pace.keep(VALIDATION_STEP * sum(map(samples_in, validation)) / spec.training.batch_size)
    curves = Curves.empty(spec.training.steps, device)
    started_at = datetime.now(UTC)
    peaks, compilations = CudaPeaks(device), CompileWatch()
    with (
        MeasuredRegion(device, with_children=turns is None) as region,
        contextlib.closing(prepared.data.feed()) as feed,
    ):

        def after_first_step() -> None:
            peaks.after_first_step()
            compilations.after_first_step()

        def before_measured() -> None:
            if not region.parts:
                peaks.before_measured()
                compilations.before_measured()
            region.resume()

        hooks = LoopHooks(after_first_step, before_measured, region.pause, after_step)
        timing = train(run, feed, clock, curves, hooks, pace, turns.parts() if turns else None)
        mean_step_seconds = pace.step_seconds
        telemetry = region.stop()
    peaks.after_training()
    compilation = compilations.result(spec.training.compile)
    done = curves.first(timing.steps)
    return Trained(
        run=run,
        feed=feed,
        clock=clock,
        curves=done,
        timing=timing,
        step_seconds=mean_step_seconds,
        telemetry=telemetry,
        slices=slices_of(spec, turns, region, timing) if turns else [],
        peaks=peaks,
        compilation=compilation,
        initial_scale=initial_scale,
        started_at=started_at,
    )


def _examine(
    spec: TrialSpec,
    prepared: Prepared,
    trained: Trained,
    skipped_steps: list[int],
    pace: Pace,
    keep_trace: KeepTrace | None,
) -> Findings:
    """Runs the examinations after training: probes, profile, memory breakdown, numerics."""
    return examine(
        Subject(
            device=prepared.device,
            precision=prepared.precision,
            settings=spec.training,
            model=prepared.model,
            data=prepared.data,
            run=trained.run,
            peaks=trained.peaks,
            start_bytes=prepared.start_bytes,
            initial_state=prepared.initial_state,
            why_no_initial_state=prepared.why_no_initial_state,
            skipped_steps=skipped_steps,
            ceiling_wanted=spec.phase in {"measure", "survey"},
            explained=spec.explained,
            keep_trace=lambda recorded: hand_over(recorded, keep_trace),
            in_turns=spec.turns_began is not None,
            pace=pace,
            step_seconds=trained.step_seconds,
        )
    )


def _validate_in_fp32(prepared: Prepared, run: Run, seconds_left: Callable[[], float]) -> Validation:
    """Validates in FP32, so that only the weights differ between legs."""
    run.optimizer.zero_grad(set_to_none=True)  # their memory is needed for weights that are cast to FP32
    set_flags(PRECISIONS["fp32"])
    try:
        with in_fp32(prepared.model):
            return validate(prepared.model, prepared.task, prepared.data.validation, seconds_left)
    finally:
        set_flags(prepared.precision)


def _unmoved_share(prepared: Prepared) -> float | None:
    """Share of trained weights that training left where they began; None without a copy of the initial ones."""
    if prepared.initial_state is None:
        return None
    trained = {name: weight for name, weight in prepared.model.named_parameters() if weight.requires_grad}
    return unmoved_share(trained, prepared.initial_state)


def _state_of_frozen(prepared: Prepared) -> str | None:
    """Whether training left every bit of the frozen weights as it was; None without any."""
    frozen = frozen_weights(prepared.model)
    if not frozen:
        return None
    return "unchanged" if digest_of(frozen) == prepared.frozen_sha256 else "changed"


def _scaler_trace(
    prepared: Prepared, trained: Trained, skipped: list[int], first_overflow: list[str] | None
) -> GradScalerTrace | None:
    if not trained.run.scaler.is_enabled():
        return None
    scales = _finite(trained.curves.scales)
    warmup_steps = trained.timing.steps - len(trained.clock.step_seconds())
    batches = prepared.data.training
    return GradScalerTrace(
        initial_scale=trained.initial_scale,
        final_scale=float(trained.curves.scales[-1]),
        skipped_steps=skipped,
        scale_trace=scales,
        unsettled_after_warmup=any(step >= warmup_steps - 1 for step in skipped),
        first_overflow=first_overflow,
        largest_input=largest_input(batches[skipped[0] % len(batches)]) if skipped else None,
    )


def _finite(values: torch.Tensor) -> list[float | None]:
    return list(map(_finite_or_none, values.tolist()))


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
