"""Whether the worker's device can be trusted with a benchmark: checks in fresh processes tell."""

import structlog

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.trial import TrialResult
from worker.messages import DeviceCheck, Launcher, TrialSpec

log = structlog.get_logger(__name__)

#: A check of a healthy device takes seconds, its driver's slowest start included.
CHECK_SECONDS = 60.0
NO_ANSWER = (
    f"A check of the device did not end within {CHECK_SECONDS:.0f} s. Look for processes that hang on it "
    "(`nvidia-smi`, `ps`), then reset the GPU (`nvidia-smi --gpu-reset`) or reboot the node."
)

#: Between two checks of a device that is quarantined...
RECHECK_SECONDS = 60.0
#: ...of which this many in a row must find nothing.
PASSES_NEEDED = 2

#: How a trial may end on a sick device; the other failures say themselves what they are.
SUSPICIOUS = frozenset(
    {
        FailureCode.TIMEOUT,
        FailureCode.TIME_BUDGET,
        FailureCode.INTERNAL,
        FailureCode.OUT_OF_MEMORY,
        FailureCode.CUDA_UNAVAILABLE,
    }
)


class DeviceSick(Exception):
    """The device was found sick while a benchmark ran there."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


class DeviceWatch:
    """Knows whether a worker's device is quarantined, and why."""

    def __init__(self, launcher: Launcher, device: str) -> None:
        self._launcher, self._device = launcher, device
        self._passes = 0
        #: What is wrong; None for nothing.
        self.fault: str | None = None

    async def examine(self) -> str | None:
        """What a check finds wrong: that quarantines the device."""
        fault = await self._check()
        if fault is not None:
            self._passes = 0
            if self.fault is None:
                log.error("the device is sick; the worker takes no more", device=self._device, fault=fault)
            self.fault = fault
        return fault

    async def recheck(self) -> None:
        """Ends the quarantine when enough checks in a row have found nothing."""
        if self.fault is None or await self.examine() is not None:
            return
        self._passes += 1
        if self._passes >= PASSES_NEEDED:
            log.info("the device is well again; the worker takes benchmarks", device=self._device)
            self.fault, self._passes = None, 0

    async def _check(self) -> str | None:
        found = await self._launcher.check(DeviceCheck(device=self._device), CHECK_SECONDS)
        if isinstance(found, Failure):
            return NO_ANSWER if found.code is FailureCode.TIMEOUT else found.detail
        return " ".join(found.faults) or None


def casts_doubt(spec: TrialSpec, outcome: TrialResult | Failure) -> bool:
    """Whether the end of a trial may be the device's fault: a check will tell."""
    if isinstance(outcome, TrialResult):
        gpu = outcome.telemetry.gpu
        return gpu is not None and bool(gpu.uncorrected_ecc_errors)
    if outcome.code is FailureCode.OUT_OF_MEMORY and spec.phase == "capacity":  # it looks for just that
        return False
    return outcome.code in SUSPICIOUS
