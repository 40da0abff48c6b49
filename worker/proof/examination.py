"""What a trial proves of itself after it trained: nothing here is timed, and all of it may change the weights."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import nn

from app.contract.failure import FailureCode
from app.contract.numerics import Numerics
from app.contract.training import TrainingConfig
from app.contract.trial import Memory, Probe
from worker import device as devices
from worker.data import TrialData
from worker.memory import CudaPeaks, memory_on_cpu, memory_on_cuda
from worker.precision import Precision
from worker.proof.ceiling import measure_ceiling
from worker.proof.numerics import compare_with_fp64
from worker.proof.observed_step import ObservedStep, observe_step
from worker.proof.overflow import first_overflow
from worker.proof.probes import probe_precision
from worker.training import Run, prepare

#: Of FP64 values: a weight, a copy to restore it from, and the gradients of the leg, of FP64, and of FP64 disturbed.
FP64_BYTES_PER_PARAMETER = 40

State = dict[str, torch.Tensor]
Finding = TypeVar("Finding")


@dataclass(frozen=True)
class Subject:
    """A trained model, how it was trained, and what its training left behind."""

    device: torch.device
    precision: Precision
    settings: TrainingConfig
    model: nn.Module
    data: TrialData
    run: Run
    peaks: CudaPeaks
    start_bytes: int | None
    #: On the CPU, for a leg's first trial: only that one is compared with FP64.
    initial_state: State | None
    skipped_steps: list[int]
    #: Not where the trial may use a share of the device only.
    ceiling_wanted: bool

    def start_over(self) -> Run:
        """A run from the initial weights, with a new optimizer and a new scaler, not compiled."""
        if self.initial_state is not None:
            self.model.load_state_dict(self.initial_state)
        return prepare(self.model, self.precision, self.settings, self.device)


@dataclass(frozen=True)
class Findings:
    """What the examination found."""

    observed: ObservedStep
    memory: Memory
    numerics: Numerics | None
    first_overflow: list[str] | None
    ceiling_flops_per_second: float | None
    probes: list[Probe]
    seconds: float


def examine(subject: Subject) -> Findings:
    """One step under watch, the account of memory, the comparison with FP64, the ceiling, and the probes."""
    began = time.perf_counter()
    observed = observe_step(subject.run, subject.data.training[0])
    memory = _memory(subject)
    _make_room(subject)
    numerics = overflow = None
    if subject.initial_state is not None:
        numerics = _if_it_fits(lambda: _numerics(subject, memory))
        overflow = _if_it_fits(lambda: _overflow(subject))
    _make_room(subject)
    ceiling = measure_ceiling(subject.precision, subject.device) if subject.ceiling_wanted else None
    probes = probe_precision(subject.precision, subject.device)
    return Findings(observed, memory, numerics, overflow, ceiling, probes, time.perf_counter() - began)


def _memory(subject: Subject) -> Memory:
    batch = subject.data.training[0]
    if subject.device.type == "cuda":
        return memory_on_cuda(subject.run, batch, subject.start_bytes, subject.peaks, subject.data.waiting_bytes())
    fresh = prepare(subject.model, subject.precision, subject.settings, subject.device)
    return memory_on_cpu(subject.run, replace(fresh, forward=subject.run.forward), batch)


def _make_room(subject: Subject) -> None:
    """Frees what training left: on a GPU, the allocator would keep it."""
    subject.run.optimizer.state.clear()
    subject.model.zero_grad(set_to_none=True)
    if subject.device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def _if_it_fits(examination: Callable[[], Finding]) -> Finding | None:
    """None where memory runs out: the trial has trained, and stands without it."""
    try:
        return examination()
    except devices.TrialFailed as error:
        if error.failure.code is FailureCode.OUT_OF_MEMORY:
            return None
        raise
    except (RuntimeError, MemoryError) as error:
        if devices.is_out_of_memory(error):
            return None
        raise


def _numerics(subject: Subject, memory: Memory) -> Numerics:
    if subject.device.type == "cpu":
        parameters = sum(parameter.numel() for parameter in subject.model.parameters())
        # A CPU would not refuse: the kernel would kill. A step in FP64 holds about twice a step's activations.
        devices.require_host_memory(FP64_BYTES_PER_PARAMETER * parameters + 2 * memory.peak_bytes)
    return compare_with_fp64(subject.start_over(), subject.precision, subject.data.training[0])


def _overflow(subject: Subject) -> list[str] | None:
    if not subject.skipped_steps:
        return None
    return first_overflow(subject.start_over(), subject.data.training, subject.skipped_steps[0])
