"""The fingerprint of a measurement: blocks are comparable only if device, versions and request are equal."""

import contextlib
import hashlib
import os
import platform
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from halftime import __version__
from halftime.contract.report.block import Fingerprint
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.worker import WorkerDevice
from worker.device import nvml

#: Identifies one boot of the kernel; the same in all containers on it.
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def fingerprint_of(device: WorkerDevice, request: BenchmarkRequest) -> Fingerprint:
    """Returns the fingerprint of a request on a device. Uses no GPU and no torch; caches the package versions."""
    return Fingerprint(
        device=nvml.uuid_of(device.name) or f"{_running_kernel()} {device.name}",
        driver=nvml.driver_version(),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        os=platform.platform(),
        halftime=__version__,
        packages_sha256=packages_sha256(),
        request_sha256=_sha256(request.model_dump_json()),
    )


def _running_kernel() -> str:
    with contextlib.suppress(OSError):
        return BOOT_ID.read_text().strip()
    return platform.node()


@cache
def packages_sha256() -> str:
    """Cached: packages installed later are not loaded in this process."""
    return _sha256("\n".join(sorted(f"{one.name} {one.version}" for one in distributions())))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
