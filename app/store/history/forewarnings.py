"""What is known of a benchmark's figures before anything runs: precisions that its devices emulate, or lack."""

from collections.abc import Sequence

from halftime.contract.precisions import PrecisionName
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.worker import WorkerDevice


def precision_warnings(request: BenchmarkRequest, devices: Sequence[WorkerDevice]) -> list[str]:
    """A warning for every leg's precision that no device has native kernels for; none where one is not known."""
    if not devices:
        return []
    config = request.config
    legs = dict.fromkeys([config.baseline, *config.resolved_candidates(devices[0].kind)])
    return [warning for leg in legs if (warning := _warning(leg, devices)) is not None]


def _warning(precision: PrecisionName, devices: Sequence[WorkerDevice]) -> str | None:
    """Of the first device that emulates it, where there is one: the others refuse it."""
    found = [support for device in devices if (support := device.support_of(precision)) is not None]
    if len(found) < len(devices) or any(support.kernels == "native" for support in found):
        return None
    told = next((support for support in found if support.kernels == "emulated"), found[0])
    return f"{precision} is {told.kernels} there: {told.remedy}"
