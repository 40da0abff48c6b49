"""What a device can do in each precision, worded the same on pages and in a terminal."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from halftime.contract.precisions import UNSUPPORTED
from halftime.contract.resources.worker import KernelSupport, PrecisionSupport, WorkerDevice

#: Units of a rate, by the FLOP/s from which on each is used.
RATE_UNITS = ((1e12, "TFLOP/s"), (1e9, "GFLOP/s"), (1e6, "MFLOP/s"))


def rate(flops_per_second: float) -> str:
    """FLOP/s with three digits, in the largest unit below them."""
    size, unit = next((one for one in RATE_UNITS if flops_per_second >= one[0]), RATE_UNITS[-1])
    scaled = flops_per_second / size
    return f"{scaled:,.0f} {unit}" if scaled >= 100 else f"{scaled:.3g} {unit}"


def precisions_line(device: WorkerDevice) -> str:
    """Every precision in a line: `fp32 220 GFLOP/s · bf16 emulated, 3.8 GFLOP/s · no tf32`; empty if none is known."""
    return " · ".join(told_precisions(device))


def told_precisions(device: WorkerDevice) -> list[str]:
    """Every precision in a few words, those that are absent last."""
    absent_last = sorted(device.precisions or [], key=lambda one: one.kernels == "absent")
    return [_words(one) for one in absent_last]


def precision_remedies(device: WorkerDevice) -> list[str]:
    """For every precision that is emulated, or absent though others of its kind have it, what to do about it."""
    told = [one for one in device.precisions or [] if one.precision not in UNSUPPORTED[device.kind]]
    return [one.remedy for one in told if one.remedy is not None]


def precision_hint(devices: Iterable[WorkerDevice]) -> str:
    """Which precisions are not native on every device of a name: `bf16: emulated on the CPU`. Empty for none.

    What no device of a kind has, a request says by itself.
    """
    named: defaultdict[str, list[WorkerDevice]] = defaultdict(list)
    for device in devices:
        named[device.gpu or f"the {device.kind.upper()}"].append(device)
    return "; ".join(
        f"{', '.join(precisions)}: {kernels} on {name}"
        for name, alike in named.items()
        for kernels, precisions in _not_native(alike).items()
    )


def _words(support: PrecisionSupport) -> str:
    if support.kernels == "absent":
        return f"no {support.precision}"
    measured = None if support.flops_per_second is None else rate(support.flops_per_second)
    if support.kernels == "native":
        return f"{support.precision} {measured or 'native'}"
    return f"{support.precision} emulated{f', {measured}' if measured else ''}"


def _not_native(alike: Sequence[WorkerDevice]) -> dict[KernelSupport, list[str]]:
    """Names of precisions by what all of these devices have of them."""
    found: defaultdict[KernelSupport, list[str]] = defaultdict(list)
    for one in alike[0].precisions or []:
        kernels = {support.kernels if (support := device.support_of(one.precision)) else None for device in alike}
        if kernels == {one.kernels} and one.kernels != "native" and one.precision not in UNSUPPORTED[alike[0].kind]:
            found[one.kernels].append(one.precision)
    return found
