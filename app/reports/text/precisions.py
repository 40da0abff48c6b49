"""Precision support of a device in words, shared by pages and the terminal."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from halftime.contract.precisions import UNSUPPORTED
from halftime.contract.resources.worker import KernelSupport, PrecisionSupport, WorkerDevice

#: Units of a rate with the lowest FLOP/s at which each is used.
RATE_UNITS = ((1e12, "TFLOP/s"), (1e9, "GFLOP/s"), (1e6, "MFLOP/s"))


def rate(flops_per_second: float) -> str:
    """Formats FLOP/s with three digits, in the largest unit below the value."""
    size, unit = next((pair for pair in RATE_UNITS if flops_per_second >= pair[0]), RATE_UNITS[-1])
    scaled = flops_per_second / size
    return f"{scaled:,.0f} {unit}" if scaled >= 100 else f"{scaled:.3g} {unit}"


def precisions_line(device: WorkerDevice) -> str:
    """Lists every precision in one line: `fp32 220 GFLOP/s · bf16 emulated, 3.8 GFLOP/s · no tf32`.

    Empty where the support is unknown.
    """
    return " · ".join(precision_labels(device))


def precision_labels(device: WorkerDevice) -> list[str]:
    """Returns a short label per precision, absent ones last."""
    absent_last = sorted(device.precisions or [], key=lambda support: support.kernels == "absent")
    return [_label(support) for support in absent_last]


def precision_remedies(device: WorkerDevice) -> list[str]:
    """Returns the remedy for every precision that the device emulates or lacks.

    Precisions that no device of this kind supports are left out.
    """
    relevant = [support for support in device.precisions or [] if support.precision not in UNSUPPORTED[device.kind]]
    return [support.remedy for support in relevant if support.remedy is not None]


def precision_hint(devices: Iterable[WorkerDevice]) -> str:
    """Lists the precisions that are not native, by device name: `bf16: emulated on the CPU`. Empty for none.

    Precisions that no device of a kind supports are left out: validation of a request reports them.
    """
    by_name: defaultdict[str, list[WorkerDevice]] = defaultdict(list)
    for device in devices:
        by_name[device.gpu or f"the {device.kind.upper()}"].append(device)
    return "; ".join(
        f"{', '.join(precisions)}: {kernels} on {name}"
        for name, same_name in by_name.items()
        for kernels, precisions in _not_native(same_name).items()
    )


def _label(support: PrecisionSupport) -> str:
    if support.kernels == "absent":
        return f"no {support.precision}"
    measured = None if support.flops_per_second is None else rate(support.flops_per_second)
    if support.kernels == "native":
        return f"{support.precision} {measured or 'native'}"
    return f"{support.precision} emulated{f', {measured}' if measured else ''}"


def _not_native(devices: Sequence[WorkerDevice]) -> dict[KernelSupport, list[str]]:
    """Groups precisions by the support, other than native, that all of these devices have in common."""
    first = devices[0]
    groups: defaultdict[KernelSupport, list[str]] = defaultdict(list)
    for own in first.precisions or []:
        kernels = {support.kernels if (support := device.support_of(own.precision)) else None for device in devices}
        if kernels == {own.kernels} and own.kernels != "native" and own.precision not in UNSUPPORTED[first.kind]:
            groups[own.kernels].append(own.precision)
    return groups
