"""What a device can do at most in words, shared by pages and the terminal."""

from typing import get_args

import humanize

from app.reports.text.precisions import rate
from halftime.contract.precisions import PrecisionName
from halftime.contract.resources.worker import Bandwidth, WorkerDevice


def ceilings_line(device: WorkerDevice) -> str:
    """Lists all ceilings in one line: `at most fp32 232 GFLOP/s · bf16 810 GFLOP/s · 64 KiB at 40.1 GB/s …`.

    Empty where they are unknown.
    """
    labels = ceiling_labels(device)
    return f"at most {' · '.join(labels)}" if labels else ""


def ceiling_labels(device: WorkerDevice) -> list[str]:
    """Returns a short label per ceiling: matrix products by precision, memory by size, and launches."""
    ceilings = device.ceilings
    if ceilings is None:
        return []
    rates = ceilings.flops_per_second  # in any order: the database does not keep that of keys
    products = [f"{name} {rate(rates[name])}" for name in get_args(PrecisionName) if name in rates]
    launch = f"{humanize.metric(ceilings.launch_seconds, 's')} a launch"
    return [*products, *map(_bandwidth, ceilings.memory), launch]


def ceilings_source(device: WorkerDevice) -> str:
    """Names the software with which the ceilings were measured; empty where they are unknown."""
    if device.ceilings is None:
        return ""
    driver = f", driver {device.ceilings.driver}" if device.ceilings.driver else ""
    return f"torch {device.ceilings.torch}{driver}"


def _bandwidth(measured: Bandwidth) -> str:
    size = humanize.naturalsize(measured.size_bytes, binary=True, format="%.3g")
    return f"{size} at {humanize.metric(measured.bytes_per_second, 'B/s')}"
