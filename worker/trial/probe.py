"""Lists the devices of this machine, the precisions each supports, their ceilings, and their faults."""

import torch

from halftime.contract.resources.worker import PrecisionSupport
from worker.device.detection import detect, gpu_count
from worker.device.health import arithmetic_faults, driver_faults
from worker.errors import TrialFailed
from worker.explain.ceilings import ceilings_or_reason
from worker.proof.precision_support import measure_support
from worker.training.precision import PRECISIONS, check


def probe_devices() -> list[dict[str, object]]:
    """Returns every device with the precisions it supports, and why not the others. Holds a CUDA context while it runs.

    Each measurement briefly uses the device, even if a worker is running there.
    """
    names = ["cpu", *(f"cuda:{index}" for index in range(gpu_count()))]
    return [_probe(name) for name in names]


def _probe(name: str) -> dict[str, object]:
    device = detect(name)
    # Held memory is not checked: a worker may be running there.
    faults = [*driver_faults(name), *arithmetic_faults(name)]
    # A faulty device may hang during the measurement.
    measured = None if faults else measure_support(name)
    ceilings, missing = (None, None) if faults else ceilings_or_reason(name)
    problems = _problems(name) if measured is None else _absent(measured)
    return {
        "device": name,
        "kind": device.kind,
        "gpu": device.gpu,
        "memory_bytes": device.memory_bytes,
        "precisions": [precision for precision in PRECISIONS if precision not in problems],
        "problems": problems,
        "support": None if measured is None else [one.model_dump(mode="json") for one in measured],
        "ceilings": None if ceilings is None else ceilings.model_dump(mode="json"),
        "ceilings_missing": missing,
        "faults": faults,
        "torch": torch.__version__,
    }


def _problems(name: str) -> dict[str, str]:
    """Returns the reason for each precision that the device does not support, as far as it shows without training."""
    problems: dict[str, str] = {}
    for precision in PRECISIONS.values():
        try:
            check(torch.device(name), precision)
        except TrialFailed as error:
            problems[precision.name] = error.failure.detail
    return problems


def _absent(measured: list[PrecisionSupport]) -> dict[str, str]:
    return {one.precision: one.remedy or "" for one in measured if one.kernels == "absent"}
