"""Quarantine of a faulty device: health checks in fresh processes decide when it begins and ends."""

import structlog

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.trial import TrialResult
from worker.messages import DeviceCheck, Launcher, TrialSpec

log = structlog.get_logger(__name__)

#: Limit of one check: a healthy device takes seconds, including the slowest start of its driver.
CHECK_SECONDS = 60.0
CHECK_TIMED_OUT = (
    f"The device check did not finish within {CHECK_SECONDS:.0f} s. Look for hanging processes on the device "
    "(`nvidia-smi`, `ps`), then reset the GPU (`nvidia-smi --gpu-reset`) or reboot the node."
)

#: Interval between checks of a quarantined device.
RECHECK_SECONDS = 60.0
#: Checks in a row that must find no fault to end the quarantine.
PASSES_NEEDED = 2

#: Failures that a faulty device may cause.
POSSIBLE_DEVICE_FAULTS = frozenset(
    {
        FailureCode.TIMEOUT,
        FailureCode.TIME_BUDGET,
        FailureCode.INTERNAL,
        FailureCode.OUT_OF_MEMORY,
        FailureCode.CUDA_UNAVAILABLE,
    }
)


class DeviceSick(Exception):
    """A device fault was found while a benchmark ran."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


class DeviceMonitor:
    """Keeps the quarantine of a worker's device."""

    def __init__(self, launcher: Launcher, device: str) -> None:
        self._launcher, self._device = launcher, device
        self._passes = 0
        #: The fault with its remedy; None for a healthy device.
        self.fault: str | None = None

    async def examine(self) -> str | None:
        """Checks the device and returns its fault; a fault begins the quarantine."""
        fault = await self._check()
        if fault is not None:
            self._passes = 0
            if self.fault is None:
                log.error("device quarantined", device=self._device, fault=fault)
            self.fault = fault
        return fault

    async def recheck(self) -> None:
        """Checks a quarantined device; ends the quarantine after PASSES_NEEDED checks in a row without a fault."""
        if self.fault is None or await self.examine() is not None:
            return
        self._passes += 1
        if self._passes >= PASSES_NEEDED:
            log.info("device quarantine ended", device=self._device)
            self.fault, self._passes = None, 0

    async def _check(self) -> str | None:
        result = await self._launcher.check(DeviceCheck(device=self._device), CHECK_SECONDS)
        if isinstance(result, Failure):
            return CHECK_TIMED_OUT if result.code is FailureCode.TIMEOUT else result.detail
        return " ".join(result.faults) or None


def may_be_device_fault(spec: TrialSpec, outcome: TrialResult | Failure) -> bool:
    """Whether a device fault may have caused the outcome of a trial, so that the device should be checked."""
    if isinstance(outcome, TrialResult):
        gpu = outcome.telemetry.gpu
        return gpu is not None and bool(gpu.uncorrected_ecc_errors)
    if outcome.code is FailureCode.OUT_OF_MEMORY and spec.phase in {"capacity", "verify"}:  # of larger batches
        return False
    return outcome.code in POSSIBLE_DEVICE_FAULTS
