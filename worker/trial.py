"""One leg, trained once and measured: what a trial process does between its start and its end."""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import torch
from torch import nn

from app.contract.models import ConvnetSpec
from app.contract.trial import Attestation, GradScalerTrace, TrialResult
from worker import device as devices
from worker.clock import make_clock
from worker.data import TrialData, make_data
from worker.memory import PeakReader, account_for_step
from worker.messages import TrialSpec
from worker.models import build_model
from worker.precision import PRECISIONS, DtypeWatch, Precision, environment_overrides, read_flags, set_flags
from worker.probes import probe_precision
from worker.training import Curves, LoopHooks, Run, prepare, train, validate

#: Bytes of host memory per parameter at least: weights, gradients and two moments in FP32; for CUDA, weights alone.
LEAST_HOST_BYTES_PER_PARAMETER = {"cpu": 16, "cuda": 4}


@dataclass(frozen=True)
class Prepared:
    """A model and its data on the device, under the trial's precision, before the first step."""

    device: torch.device
    precision: Precision
    model: nn.Module
    data: TrialData
    #: What is known before training; probes and the forward pass's dtypes are added after it.
    attestation: Attestation
    peaks: PeakReader


def run_trial(spec: TrialSpec, after_step: Callable[[int], None]) -> TrialResult:
    """Trains one leg once and measures it. Raises TrialFailed with a typed failure."""
    device = torch.device(spec.device)
    try:
        return _run(spec, device, after_step)
    except (RuntimeError, MemoryError) as error:
        if devices.is_out_of_memory(error):
            raise devices.out_of_memory(device, error) from error
        raise


def _run(spec: TrialSpec, device: torch.device, after_step: Callable[[int], None]) -> TrialResult:
    began = time.perf_counter()
    prepared = _prepare(spec, device)
    model, data, peaks = prepared.model, prepared.data, prepared.peaks

    run = prepare(model, prepared.precision, spec.training, device)
    initial_scale = run.scaler.get_scale()
    clock = make_clock(device, spec.training.steps - spec.training.warmup_steps + 1)
    curves = Curves.empty(spec.training.steps, device)
    training_started_at = datetime.now(UTC)
    hooks = LoopHooks(peaks.after_first_step, peaks.before_measured, after_step)
    timing = train(run, data.training, clock, curves, hooks)
    peaks.after_training()

    applied_steps = int(run.learning_rate.applied_steps)
    final_learning_rate = float(run.learning_rate.value)
    validation_loss, validation_accuracy = _validate_in_fp32(prepared)
    with DtypeWatch(model) as watch:
        account = account_for_step(run, data.training[0])
    # Last: cuBLAS would keep its workspace, and the trial would not start from an empty device.
    seen_after = {"probes": probe_precision(prepared.precision, device), "forward_dtypes": watch.seen()}
    return TrialResult(
        block=spec.block,
        seed=spec.seed,
        precision=spec.precision,
        position=spec.position,
        training_started_at=training_started_at,
        step_seconds=clock.step_seconds(),
        measured_wall_seconds=timing.measured_wall_seconds,
        host_issue_seconds=timing.host_issue_seconds,
        training_time_seconds=timing.training_time_seconds,
        trial_seconds=time.perf_counter() - began,
        loss_curve=_finite(curves.losses),
        gradient_norms=_finite(curves.gradient_norms),
        applied_steps=applied_steps,
        final_learning_rate=final_learning_rate,
        fused_optimizer=bool(run.optimizer.defaults["fused"]),
        grad_scaler=_scaler_trace(run, curves, initial_scale),
        validation_loss=validation_loss if math.isfinite(validation_loss) else None,
        validation_accuracy=validation_accuracy,
        memory=peaks.memory(data.waiting_bytes(), account),
        attestation=prepared.attestation.model_copy(update=seen_after),
        data=data.facts,
        environment=devices.environment(device),
        parameter_count=sum(parameter.numel() for parameter in model.parameters()),
    )


def _prepare(spec: TrialSpec, device: torch.device) -> Prepared:
    """Device check, precision, memory reset, then data and model from the block's seed."""
    precision = PRECISIONS[spec.precision]
    devices.check(device, precision)
    devices.make_current(device)
    devices.require_host_memory(LEAST_HOST_BYTES_PER_PARAMETER[device.type] * spec.model.parameter_count())
    set_flags(precision)
    flags = read_flags()
    start_bytes = devices.reset_memory(device)

    torch.manual_seed(spec.seed)
    data = make_data(spec.model, spec.training, spec.seed)
    model = build_model(spec.model)
    attestation = Attestation(
        flags=flags,
        environment_overrides=environment_overrides(),
        probes=[],
        forward_dtypes={},
        initial_weights_sha256=hash_weights(model),
        data_sha256=data.sha256(),
    )
    _move(model, spec, device)
    return Prepared(device, precision, model, data.to(device), attestation, PeakReader(device, start_bytes))


def _validate_in_fp32(prepared: Prepared) -> tuple[float, float]:
    """Loss and accuracy of the weights, not of the leg's arithmetic."""
    set_flags(PRECISIONS["fp32"])
    try:
        return validate(prepared.model, prepared.data.validation)
    finally:
        set_flags(prepared.precision)


def hash_weights(model: nn.Module) -> str:
    """SHA-256 of the state dict, names and bytes: equal across the legs of a block."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _move(model: nn.Module, spec: TrialSpec, device: torch.device) -> None:
    model.to(device)
    if isinstance(spec.model, ConvnetSpec) and spec.model.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # missing from torch's stubs
    model.train()


def _scaler_trace(run: Run, curves: Curves, initial_scale: float) -> GradScalerTrace | None:
    if not run.scaler.is_enabled():
        return None
    skipped = [index for index, found in enumerate(curves.found_infs.tolist()) if found]
    scales = _finite(curves.scales)
    return GradScalerTrace(
        initial_scale=initial_scale,
        final_scale=float(curves.scales[-1]),
        skipped_steps=skipped,
        scale_trace=scales,
        unsettled_after_warmup=any(step >= run.settings.warmup_steps - 1 for step in skipped),
    )


def _finite(values: torch.Tensor) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]
