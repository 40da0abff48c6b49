"""Trials of a simulated worker: a result of the real shape after a sleep of the real duration, scaled down."""

import signal
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.trial import TrialResult
from halftime.contract.resources.worker import WorkerDevice
from testing.fleet.fates import Fate, fate_of
from testing.fleet.trials import simulated_result
from worker.messages import DeviceCheck, DeviceHealth, DeviceSupport, Inspection, KeepTrace, ModelFacts, TrialSpec

#: Share of a real trial's training time that a simulated trial takes.
TIME_SCALE = 0.02

#: Progress reports of one trial.
PARTS = 4

#: Signals that end a process out of memory, and a process with a fault.
OOM, CRASH = signal.SIGKILL, signal.SIGSEGV


@dataclass
class SimulatedLauncher:
    """Replaces `TrialLauncher`: no processes, no torch. The benchmark's seed decides its outcome."""

    device: WorkerDevice
    time_scale: float = TIME_SCALE

    async def warm_up(self) -> None:
        """Do nothing: there is no process to start."""

    async def close(self) -> None:
        """Do nothing: there is no process to end."""

    async def inspect(self, inspection: Inspection, deadline_seconds: float) -> tuple[ModelFacts | Failure, str]:
        """Report every model as a small one."""
        return ModelFacts(parameter_count=1_000_000, min_memory_bytes=2**23), ""

    async def check(self, check: DeviceCheck, deadline_seconds: float) -> DeviceHealth | Failure:
        """Report a healthy device: every failure is then the benchmark's own."""
        return DeviceHealth(faults=[])

    async def measure_support(self, device: str, deadline_seconds: float) -> DeviceSupport | Failure:
        """Report what is known of the device; nothing is measured."""
        return DeviceSupport(
            precisions=self.device.precisions or [], ceilings=self.device.ceilings, ceilings_missing="simulated"
        )

    async def run(
        self,
        spec: TrialSpec,
        deadline_seconds: float,
        after_step: Callable[[int], None],
        keep_trace: KeepTrace | None = None,
    ) -> tuple[TrialResult | Failure, str]:
        """Return what the benchmark's fate gives this trial; a benchmark that fails does so in its baseline leg."""
        fate = fate_of(spec.training.seed)
        result = simulated_result(spec, self.device, finite=fate is not Fate.NONFINITE_LOSS)
        for part in range(PARTS):
            await anyio.sleep(result.training_time_seconds * self.time_scale / PARTS)
            after_step(spec.training.steps * (part + 1) // PARTS)
        failure = _failure(fate, spec)
        return failure or result, _standard_error(fate, spec)


def _failure(fate: Fate, spec: TrialSpec) -> Failure | None:
    candidate = spec.precision != "fp32"
    if fate is Fate.ALL_OUT_OF_MEMORY or (fate is Fate.CANDIDATE_OUT_OF_MEMORY and candidate):
        return Failure.of(FailureCode.OUT_OF_MEMORY, "CUDA out of memory. Tried to allocate 2.00 GiB. (simulated)")
    if fate is Fate.INVALID_MODEL:
        return Failure.of(FailureCode.INVALID_MODEL, "mat1 and mat2 shapes cannot be multiplied (simulated)")
    if fate is Fate.KILLED_TWICE:
        return Failure.of(FailureCode.INTERNAL, f"The {spec.name} was killed by {CRASH.name}, twice. (simulated)")
    if fate is Fate.OOM_KILLED:
        return Failure.of(FailureCode.OUT_OF_MEMORY, f"The {spec.name} was killed by {OOM.name}, twice. (simulated)")
    return None


def _standard_error(fate: Fate, spec: TrialSpec) -> str:
    times, by = {Fate.KILLED_ONCE: (1, CRASH), Fate.KILLED_TWICE: (2, CRASH), Fate.OOM_KILLED: (2, OOM)}.get(
        fate, (0, CRASH)
    )
    return f"[{spec.name} was killed by {by.name}]\n" * times
