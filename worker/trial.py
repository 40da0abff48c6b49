"""The trial process: one leg, trained once, in a process that ends with it."""

import contextlib
import faulthandler
import hashlib
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch
from torch import nn

from app.contract.failure import Failure, FailureCode
from app.contract.models import ConvnetSpec
from app.contract.trial import Attestation, GradScalerTrace, TrialResult
from worker import device as devices
from worker.clock import make_clock
from worker.data import make_data
from worker.device import TrialFailed
from worker.memory import PeakReader, account_for_step
from worker.messages import StepDone, TrialGaveUp, TrialSpec, TrialSucceeded
from worker.models import build_model
from worker.precision import PRECISIONS, DtypeWatch, environment_overrides, read_flags, set_flags
from worker.training import Curves, LoopHooks, Run, prepare, train, validate

#: Seconds between two words about progress.
PROGRESS_SECONDS = 0.5

#: Bytes of host memory per parameter at least: weights, gradients and two moments in FP32; for CUDA, weights alone.
LEAST_HOST_BYTES_PER_PARAMETER = {"cpu": 16, "cuda": 4}


def main(spec_json: str, results: Connection, standard_error: Connection) -> None:
    """The whole life of the process: says its result over `results`, writes what else it has to say to the worker."""
    os.setpgid(0, 0)  # so that cancelling reaches its own children, and never the worker
    os.dup2(standard_error.fileno(), 1)
    os.dup2(standard_error.fileno(), 2)
    faulthandler.enable()
    _die_with_the_worker()
    _volunteer_for_the_oom_killer()
    last_said = time.monotonic()

    def after_step(step: int) -> None:
        nonlocal last_said
        if time.monotonic() - last_said >= PROGRESS_SECONDS:
            last_said = time.monotonic()
            results.send_bytes(StepDone(step=step).model_dump_json().encode())

    last_word: TrialSucceeded | TrialGaveUp
    try:
        last_word = TrialSucceeded(result=run_trial(TrialSpec.model_validate_json(spec_json), after_step))
    except TrialFailed as error:
        traceback.print_exc()
        last_word = TrialGaveUp(failure=error.failure)
    except Exception as error:  # whatever went wrong, the worker must hear of it
        traceback.print_exc()
        detail = f"{type(error).__name__}: {error}"[:1000] + " The benchmark's logs have the traceback."
        last_word = TrialGaveUp(failure=Failure.of(FailureCode.INTERNAL, detail))
    sys.stderr.flush()
    results.send_bytes(last_word.model_dump_json().encode())


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
    weights_sha256 = hash_weights(model)
    data_sha256 = data.sha256()
    _move(model, spec, device)
    data = data.to(device)

    run = prepare(model, precision, spec.training, device)
    initial_scale = run.scaler.get_scale()
    clock = make_clock(device, spec.training.steps - spec.training.warmup_steps + 1)
    curves = Curves.empty(spec.training.steps, device)
    peaks = PeakReader(device, start_bytes)
    training_started_at = datetime.now(UTC)
    hooks = LoopHooks(peaks.after_first_step, peaks.before_measured, after_step)
    timing = train(run, data.training, clock, curves, hooks)
    peaks.after_training()

    applied_steps = int(run.learning_rate.applied_steps)
    final_learning_rate = float(run.learning_rate.value)
    set_flags(PRECISIONS["fp32"])
    validation_loss, validation_accuracy = validate(model, data.validation)
    set_flags(precision)
    with DtypeWatch(model) as watch:
        account = account_for_step(run, data.training[0])
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
        fused_optimizer=True,
        grad_scaler=_scaler_trace(run, curves, initial_scale),
        validation_loss=validation_loss if math.isfinite(validation_loss) else None,
        validation_accuracy=validation_accuracy,
        memory=peaks.memory(data.waiting_bytes(), account),
        attestation=Attestation(
            flags=flags,
            environment_overrides=environment_overrides(),
            forward_dtypes=watch.seen(),
            initial_weights_sha256=weights_sha256,
            data_sha256=data_sha256,
        ),
        data=data.facts,
        environment=devices.environment(device),
        parameter_count=sum(parameter.numel() for parameter in model.parameters()),
    )


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


def _die_with_the_worker() -> None:
    """Kills this process group when the worker is gone.

    The child of a forkserver has the forkserver for a parent, so the kernel's parent-death signal would not come;
    the sentinel is a pipe whose other end is the worker's.
    """
    worker = multiprocessing.parent_process()
    if worker is None:
        return

    def watch() -> None:
        wait([worker.sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="watch the worker", daemon=True).start()


def _volunteer_for_the_oom_killer() -> None:
    """If the machine runs out of memory, this process goes first: not the database, not the worker."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
