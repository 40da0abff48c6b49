"""What a trial proves of itself after it trained: nothing here is timed, and all of it may change the weights."""

import time
from dataclasses import dataclass, replace

import torch
from torch import nn

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

#: An FP64 copy of a parameter, its gradient, and a second weight to restore it from.
FP64_BYTES_PER_PARAMETER = 24

State = dict[str, torch.Tensor]


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
    ceiling_flops_per_second: float
    probes: list[Probe]
    seconds: float


def examine(subject: Subject) -> Findings:
    """One step under watch, the account of memory, the comparison with FP64, the ceiling, and the probes."""
    began = time.perf_counter()
    observed = observe_step(subject.run, subject.data.training[0])
    memory = _memory(subject)
    subject.run.optimizer.state.clear()  # room for FP64
    numerics = overflow = None
    if subject.initial_state is not None:
        numerics = _numerics(subject)
        if subject.skipped_steps:
            overflow = first_overflow(subject.start_over(), subject.data.training, subject.skipped_steps[0])
    ceiling = measure_ceiling(subject.precision, subject.device)
    probes = probe_precision(subject.precision, subject.device)
    return Findings(observed, memory, numerics, overflow, ceiling, probes, time.perf_counter() - began)


def _memory(subject: Subject) -> Memory:
    batch = subject.data.training[0]
    if subject.device.type == "cuda":
        return memory_on_cuda(subject.run, batch, subject.start_bytes, subject.peaks, subject.data.waiting_bytes())
    fresh = prepare(subject.model, subject.precision, subject.settings, subject.device)
    return memory_on_cpu(subject.run, replace(fresh, forward=subject.run.forward), batch)


def _numerics(subject: Subject) -> Numerics | None:
    """None where FP64 does not fit: the comparison stands without it."""
    parameters = sum(parameter.numel() for parameter in subject.model.parameters())
    try:
        if subject.device.type == "cpu":
            devices.require_host_memory(FP64_BYTES_PER_PARAMETER * parameters)
        return compare_with_fp64(subject.start_over(), subject.precision, subject.data.training[0])
    except devices.TrialFailed:
        return None
    except (RuntimeError, MemoryError) as error:
        if devices.is_out_of_memory(error):
            return None
        raise
