"""What this worker measures with: blocks of another device, other versions or another request are not comparable."""

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

#: New at every start of a kernel, and the same in all of its containers.
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def measured_with(device: WorkerDevice, request: BenchmarkRequest) -> Fingerprint:
    """Reads the versions of all packages once, which takes a moment; touches no GPU and needs no torch."""
    return Fingerprint(
        device=nvml.uuid_of(device.name) or f"{_running_kernel()} {device.name}",
        driver=nvml.driver_version(),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        os=platform.platform(),
        halftime=__version__,
        packages_sha256=_packages_sha256(),
        request_sha256=_sha256(request.model_dump_json()),
    )


def _running_kernel() -> str:
    with contextlib.suppress(OSError):
        return BOOT_ID.read_text().strip()
    return platform.node()


@cache
def _packages_sha256() -> str:
    """Of a process that runs: what is installed meanwhile, it has not loaded."""
    return _sha256("\n".join(sorted(f"{one.name} {one.version}" for one in distributions())))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
