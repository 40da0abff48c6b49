"""Collects the telemetry of a trial's measured region."""

from types import TracebackType

import torch

from halftime.contract.report.telemetry import GpuTelemetry, Telemetry
from worker.device import nvml
from worker.device.gpu_sampler import GpuSampler
from worker.device.host_counters import HostCounters, between


class MeasuredRegion:
    """Collects telemetry between `start` and `stop`; slow work (loading NVML, finding the GPU) happens on entry."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._driver = nvml.opened()
        self._sampler: GpuSampler | None = None

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

    def start(self) -> None:
        """Starts the region: the device is idle and the first measured step is next."""
        if self._sampler is not None:
            self._sampler.start()
        self._before = HostCounters.now()

    def stop(self) -> Telemetry:
        """Ends the region after the device has completed the last step."""
        host = between(self._before, HostCounters.now())
        gpu: GpuTelemetry | None = self._sampler.stop() if self._sampler is not None else None
        return Telemetry(host=host, gpu=gpu)
