"""Warnings before a benchmark runs: precisions that its devices emulate or lack."""

from collections.abc import Sequence

from halftime.contract.precisions import PrecisionName
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.worker import WorkerDevice


def precision_warnings(request: BenchmarkRequest, devices: Sequence[WorkerDevice]) -> list[str]:
    """Returns a warning for every precision without native kernels on any device; none if a device is not measured."""
    if not devices:
        return []
    config = request.config
    legs = dict.fromkeys([config.baseline, *config.resolved_candidates(devices[0].kind)])
    return [warning for leg in legs if (warning := _warning(leg, devices)) is not None]


def _warning(precision: PrecisionName, devices: Sequence[WorkerDevice]) -> str | None:
    """Returns the warning for the first device that emulates the precision, else for one that lacks it."""
    supports = [support for device in devices if (support := device.support_of(precision)) is not None]
    if len(supports) < len(devices) or any(support.kernels == "native" for support in supports):
        return None
    support = next((support for support in supports if support.kernels == "emulated"), supports[0])
    return f"{precision} is {support.kernels}: {support.remedy}"
