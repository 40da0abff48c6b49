"""Warnings about the device: that it is none, what it emulates, and widths that it multiplies slowly."""

from collections.abc import Iterator

from worker.comparison.comparison_run import ComparisonRun
from worker.report.warnings.widths import widths

#: Tensor cores are fully used with dimensions in multiples of this (NVIDIA, "Matrix Multiplication Background User's
#: Guide").
TENSOR_CORE_MULTIPLE = 8


def about_the_device(measured: ComparisonRun) -> Iterator[str]:
    """Yields what the device keeps the benchmark from."""
    if measured.request.config.device == "auto" and measured.device.kind == "cpu":
        yield "device `auto` found no CUDA worker and ran on the CPU: the figures do not apply to a GPU."
    measurement = measured.request.config.measurement
    if measurement.capacity and measured.device.kind == "cpu" and measurement.capacity_memory_mib is None:
        yield "The largest batch was not searched for: on a CPU, set measurement.capacity_memory_mib."
    odd = [name for name, size in widths(measured.request.model) if size % TENSOR_CORE_MULTIPLE]
    if odd and measured.device.kind == "cuda":
        yield f"{', '.join(odd)} is not a multiple of {TENSOR_CORE_MULTIPLE}: half precision may not use tensor cores."


def about_emulation(measured: ComparisonRun) -> Iterator[str]:
    """Warns of every precision that the device emulates."""
    for precision in dict.fromkeys(leg.precision for leg in measured.legs):
        support = measured.device.support_of(precision)
        if support is not None and support.kernels == "emulated":
            yield f"{precision} is emulated. {support.remedy}"
