"""What this worker measures with: blocks of another device, other versions or another request are not comparable."""

import contextlib
import hashlib
import platform
from importlib.metadata import distributions
from pathlib import Path

import torch

from app.contract.block import MeasuredWith
from app.contract.request import BenchmarkRequest
from app.contract.worker import WorkerDevice
from worker import nvml
from worker.device import environment

#: New at every start of a kernel, and the same in all of its containers.
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def measured_with(device: WorkerDevice, request: BenchmarkRequest) -> MeasuredWith:
    """Reads the versions of all packages, which takes a moment; touches no GPU."""
    return MeasuredWith(
        device=nvml.uuid_of(device.name) or _running_kernel(),
        environment=environment(torch.device("cpu")),
        packages_sha256=_sha256("\n".join(sorted(f"{one.name} {one.version}" for one in distributions()))),
        request_sha256=_sha256(request.model_dump_json()),
    )


def _running_kernel() -> str:
    with contextlib.suppress(OSError):
        return BOOT_ID.read_text().strip()
    return platform.node()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
