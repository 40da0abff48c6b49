"""Trials of a simulated worker: the result at its true shape, after a sleep at its true length, scaled down."""

import signal
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.trial import TrialResult
from halftime.contract.resources.worker import WorkerDevice
from testing.fleet.fates import Fate, fate_of
from testing.fleet.trials import simulated_result
from worker.messages import DeviceCheck, DeviceHealth, DeviceSupport, Inspection, ModelFacts, TrialSpec

#: A simulated trial lasts this share of the true one's training.
TIME_SCALE = 0.02

#: Parts of a trial between which it tells of its steps.
PARTS = 4

#: Signals that end what runs out of memory, and what has a fault.
OOM, CRASH = signal.SIGKILL, signal.SIGSEGV


@dataclass
class SimulatedLauncher:
    """In the place of `TrialLauncher`: no processes, no torch. What comes of a benchmark hangs on its seed."""

    device: WorkerDevice
    time_scale: float = TIME_SCALE

    async def warm_up(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing to end."""

    async def inspect(self, inspection: Inspection, deadline_seconds: float) -> tuple[ModelFacts | Failure, str]:
        """Any model is a small one."""
        return ModelFacts(parameter_count=1_000_000, min_memory_bytes=2**23), ""

    async def check(self, check: DeviceCheck, deadline_seconds: float) -> DeviceHealth | Failure:
        """The simulated device is well: what fails there is the benchmark's own fault."""
        return DeviceHealth(faults=[])

    async def measure_support(self, device: str, deadline_seconds: float) -> DeviceSupport | Failure:
        """As it says itself, which is nothing."""
        return DeviceSupport(precisions=self.device.precisions or [])

    async def run(
        self, spec: TrialSpec, deadline_seconds: float, after_step: Callable[[int], None]
    ) -> tuple[TrialResult | Failure, str]:
        """What the fate of the benchmark has for this trial; the baseline is the leg in which a benchmark fails."""
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
