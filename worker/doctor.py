"""What this machine offers to train on."""

import torch

from worker.device import TrialFailed, check, detect, gpu_count
from worker.health import arithmetic_faults, driver_faults
from worker.precision import PRECISIONS


def probe_devices() -> list[dict[str, object]]:
    """Every device with the precisions it can run; for those it cannot, why. Holds a CUDA context while it runs."""
    names = ["cpu", *(f"cuda:{index}" for index in range(gpu_count()))]
    return [_probe(name) for name in names]


def _probe(name: str) -> dict[str, object]:
    device = detect(name)
    problems = {}
    for precision in PRECISIONS.values():
        try:
            check(torch.device(name), precision)
        except TrialFailed as error:
            problems[precision.name] = error.failure.detail
    offered = [precision for precision in PRECISIONS if precision not in problems]
    return {
        "device": name,
        "gpu": device.gpu,
        "memory_bytes": device.memory_bytes,
        "precisions": offered,
        "problems": problems,
        # Not what is held of its memory: a worker may be busy there.
        "faults": [*driver_faults(name), *arithmetic_faults(name)],
        "torch": torch.__version__,
    }
