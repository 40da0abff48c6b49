"""Collects the telemetry of a trial's measured region."""

from types import TracebackType

import torch

from halftime.contract.report.telemetry import GpuTelemetry, Telemetry
from worker.device import nvml
from worker.device.gpu_sampler import GpuSampler, GpuUse
from worker.device.host_counters import HostCounters, HostUse, host_telemetry


class MeasuredRegion:
    """Collects telemetry of measured steps, between `resume` and `pause`; slow work (loading NVML) happens on entry."""

    def __init__(self, device: torch.device, with_children: bool = True) -> None:
        """`with_children`: whether the process may have children that work for it."""
        self._device, self._with_children = device, with_children
        self._driver = nvml.opened()
        self._sampler: GpuSampler | None = None
        #: Of each time that consecutive steps were measured.
        self.parts: list[tuple[HostUse, GpuUse | None]] = []

    def __enter__(self) -> "MeasuredRegion":
        library = self._driver.__enter__()
        handle = nvml.handle_of(library, str(self._device)) if library else None
        if library is not None and handle is not None:
            self._sampler = GpuSampler(library, handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sampler is not None:
            self._sampler.close()
        self._driver.__exit__(kind, error, trace)

    def resume(self) -> None:
        """Starts consecutive measured steps: the device is idle and the first of them is next."""
        if self._sampler is not None:
            self._sampler.resume()
        self._before = HostCounters.now(self._with_children)

    def pause(self) -> None:
        """Ends consecutive measured steps after the device has completed the last of them."""
        host = HostUse(self._before, HostCounters.now(self._with_children))
        self.parts.append((host, self._sampler.pause() if self._sampler is not None else None))

    def stop(self) -> Telemetry:
        """Ends the region after its last pause."""
        gpu: GpuTelemetry | None = self._sampler.stop() if self._sampler is not None else None
        return Telemetry(host=host_telemetry([host for host, _ in self.parts]), gpu=gpu)
