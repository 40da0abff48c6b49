"""Runs a trial's examinations after training; none is timed, and all may change the weights."""

import contextlib
import gc
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import nn
from torch.profiler import profile

from halftime.contract.report.explanation import StepProfile
from halftime.contract.report.numerics import Numerics
from halftime.contract.report.trial import Memory, Probe
from halftime.contract.request.training import TrainingConfig
from worker.data import TrialData
from worker.device import device as devices
from worker.errors import TrialFailed
from worker.errors.out_of_memory import is_out_of_memory
from worker.explain.profile import profile_steps, steps_in_all
from worker.proof.ceiling import measure_ceiling
from worker.proof.numerics import compare_with_fp64
from worker.proof.observed_step import ObservedStep, observe_step
from worker.proof.overflow import first_overflow
from worker.proof.probes import probe_precision
from worker.training.held import State, restore
from worker.training.loop import Run, prepare
from worker.training.memory import CudaPeaks, account_for_step, break_down, memory_on_cpu, memory_on_cuda
from worker.training.pace import ACCOUNT_STEPS, NO_TIME, PEAK_STEPS, Pace
from worker.training.precision import Precision

#: FP64 values per parameter: a weight, its backup, and the gradients of the leg, of FP64, and of perturbed FP64.
FP64_BYTES_PER_PARAMETER = 40

#: Duration of the comparison with FP64, in training steps: two in FP64 on part of the batch, and one of the leg.
NUMERICS_STEPS = 3

#: Duration of the ceiling measurement on any device.
CEILING_SECONDS = 1.5

#: Duration of reading and packing the events of a few profiled steps.
EVENTS_SECONDS = 3.0

Finding = TypeVar("Finding")


@dataclass(frozen=True)
class Subject:
    """A trained model, its settings, and the state after its training."""

    device: torch.device
    precision: Precision
    settings: TrainingConfig
    model: nn.Module
    data: TrialData
    run: Run
    peaks: CudaPeaks
    start_bytes: int | None
    #: Initial weights on the CPU; set for a leg's first trial, which alone is compared with FP64.
    initial_state: State | None
    #: Why there is no copy of the initial weights though the trial is a leg's first.
    why_no_initial_state: str | None
    skipped_steps: list[int]
    #: Whether to measure the ceiling; not if the trial may use only part of the device.
    ceiling_wanted: bool
    #: Whether to profile a few steps, and what keeps their trace.
    explained: bool
    keep_trace: Callable[[profile], str | None]
    #: Whether other legs are on the device, which the survey's examinations would disturb or mistake for its own.
    in_turns: bool
    #: Tracks the time left.
    pace: Pace
    #: Mean duration of a step.
    step_seconds: float

    def trained_run(self) -> Run:
        """Returns the trained run with a new scaler of the same scale.

        An examination that failed may have left the old one in the middle of a step.
        """
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.run.scaler.is_enabled())
        scaler.load_state_dict(self.run.scaler.state_dict())
        return replace(self.run, scaler=scaler)

    def start_over(self) -> Run:
        """Creates an uncompiled run from the initial weights, with a new optimizer and scaler."""
        if self.initial_state is not None:
            restore(self.model, self.initial_state)
        return prepare(self.model, self.run.task, self.precision, self.settings, self.device)


@dataclass(frozen=True)
class Findings:
    """Results of the examinations; None for those without a result."""

    observed: ObservedStep | None
    memory: Memory | None
    numerics: Numerics | None
    first_overflow: list[str] | None
    ceiling_flops_per_second: float | None
    probes: list[Probe]
    profile: StepProfile | None
    #: Missing results with their reasons.
    not_examined: dict[str, str]
    seconds: float

    def attested(self, precision: Precision) -> dict[str, Any]:
        """Returns the fields of the attestation that are found after training."""
        if self.observed is None:
            return {"probes": self.probes}
        return {
            "probes": self.probes,
            "forward_dtypes": self.observed.forward_dtypes,
            "multiplied_flops": self.observed.multiplied_flops,
            "multiplied_elsewhere": self.observed.elsewhere(precision.matmul_dtype_name),
        }


class _Examiner:
    """Runs examinations if there is time. An examination that fails leaves the trial's result valid."""

    def __init__(self, pace: Pace, step_seconds: float) -> None:
        self._pace, self._step_seconds = pace, step_seconds
        self.missing: dict[str, str] = {}

    def attempt(
        self, name: str, steps: float, examination: Callable[[], Finding], seconds: float = 0.0
    ) -> Finding | None:
        """Returns the result; None, with the reason noted, if it fails or would exceed the trial's share of the time.

        `steps` (training steps) plus `seconds` is its estimated duration; 0 to run it in any case.
        """
        needed_seconds, left_seconds = steps * self._step_seconds + seconds, self._pace.seconds_left
        if needed_seconds and needed_seconds > left_seconds:
            self.missing[name] = f"{NO_TIME} ({needed_seconds:.1f} s needed, {max(0.0, left_seconds):.1f} s left)"
            return None
        try:
            return examination()
        except TrialFailed as error:
            self.missing[name] = error.failure.detail
        except Exception as error:  # any error: the trial's result is valid without this examination
            traceback.print_exc()
            out_of_memory = is_out_of_memory(error)
            self.missing[name] = "out of memory" if out_of_memory else _first_line(error)
        return None


def examine(subject: Subject) -> Findings:
    """Runs the observed step, memory breakdown, comparison with FP64, ceiling and probes."""
    if subject.in_turns:  # the survey of its leg has been examined
        return Findings(None, _peaks_on_cuda(subject), None, None, None, [], None, {}, 0.0)
    began = time.perf_counter()
    examiner = _Examiner(subject.pace, subject.step_seconds)
    batch = subject.data.training[0]
    # Always run: without it, the dtype of the leg's matrix products is unproven.
    observed = examiner.attempt("forward_dtypes", 0, lambda: observe_step(subject.trained_run(), batch))
    profiled = _profile(subject, examiner) if subject.explained else None
    memory = _memory(subject, examiner)
    _free_memory(subject)
    numerics = overflow = None
    if subject.initial_state is not None:
        numerics = examiner.attempt("numerics", NUMERICS_STEPS, lambda: _numerics(subject, memory))
        if subject.skipped_steps:
            steps = subject.skipped_steps[0] + 1
            overflow = examiner.attempt("first_overflow", steps, lambda: _overflow(subject))
    elif subject.why_no_initial_state is not None:
        examiner.missing["numerics"] = subject.why_no_initial_state
    _free_memory(subject)
    ceiling = None
    if subject.ceiling_wanted:
        products = observed.products.get(subject.precision.matmul_dtype, []) if observed else []
        ceiling = examiner.attempt(
            "ceiling", 0, lambda: measure_ceiling(subject.precision, subject.device, products), CEILING_SECONDS
        )
    probes = examiner.attempt("probes", 0, lambda: probe_precision(subject.precision, subject.device))
    return Findings(
        observed,
        memory,
        numerics,
        overflow,
        ceiling,
        probes or [],
        profiled,
        examiner.missing,
        time.perf_counter() - began,
    )


def _profile(subject: Subject, examiner: _Examiner) -> StepProfile | None:
    """Profiles a few steps of the run as it was trained, compiled or not, if that leaves time for what follows."""
    return examiner.attempt(
        "profile",
        steps_in_all(subject.step_seconds, subject.device) + PEAK_STEPS + ACCOUNT_STEPS + NUMERICS_STEPS,
        lambda: profile_steps(
            subject.trained_run(),
            subject.data.training[0],
            subject.device,
            subject.step_seconds,
            subject.keep_trace,
        ),
        EVENTS_SECONDS + CEILING_SECONDS,
    )


def _memory(subject: Subject, examiner: _Examiner) -> Memory | None:
    """Returns the peaks, with their breakdown if available."""
    batch = subject.data.training[0]
    memory = _peaks_on_cuda(subject)
    if subject.device.type == "cpu":
        memory = examiner.attempt("memory", PEAK_STEPS, lambda: _peaks_on_cpu(subject))
    if memory is None:
        return None
    account = examiner.attempt(
        "memory_breakdown", ACCOUNT_STEPS, lambda: account_for_step(subject.trained_run(), batch)
    )
    return memory.model_copy(update={"breakdown": account and break_down(account, memory.peak_bytes)})


def _peaks_on_cuda(subject: Subject) -> Memory | None:
    """The peaks of training, which its own allocator has counted; None on a CPU."""
    if subject.device.type != "cuda":
        return None
    return memory_on_cuda(subject.run, subject.start_bytes, subject.peaks, subject.data.waiting_bytes())


def _peaks_on_cpu(subject: Subject) -> Memory:
    fresh = prepare(subject.model, subject.run.task, subject.precision, subject.settings, subject.device)
    fresh = replace(fresh, forward=subject.run.forward)
    return memory_on_cpu(subject.trained_run(), fresh, subject.data.training[0])


def _free_memory(subject: Subject) -> None:
    """Frees training's memory, which the allocator would otherwise keep on a GPU."""
    subject.run.optimizer.state.clear()
    subject.model.zero_grad(set_to_none=True)
    if subject.device.type == "cuda":
        gc.collect()
        with contextlib.suppress(RuntimeError):  # of a context that an examination broke; the figures stand
            torch.cuda.empty_cache()


def _numerics(subject: Subject, memory: Memory | None) -> Numerics:
    if subject.device.type == "cpu":
        parameters = sum(parameter.numel() for parameter in subject.model.parameters())
        # On a CPU, the kernel would kill the process. A step in FP64 needs about twice the activations.
        step_bytes = 2 * memory.peak_bytes if memory else 0
        devices.require_host_memory(FP64_BYTES_PER_PARAMETER * parameters + step_bytes)
    batch = subject.data.training[0]
    return compare_with_fp64(subject.start_over(), subject.precision, batch, subject.initial_state)


def _overflow(subject: Subject) -> list[str] | None:
    return first_overflow(subject.start_over(), subject.data.training, subject.skipped_steps[0])


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n", maxsplit=1)[0][:300]
