"""Telemetry of the measured region of one trial."""

from types import TracebackType

import torch

from halftime.contract.report.telemetry import GpuTelemetry, Telemetry
from worker.device import nvml
from worker.device.gpu_sampler import GpuSampler
from worker.device.host_counters import HostCounters, between


class MeasuredRegion:
    """Everything slow (loading NVML, finding the GPU) happens on entering; `start` and `stop` bound the region."""

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
        """The first measured step is about to begin, the device idle."""
        if self._sampler is not None:
            self._sampler.start()
        self._before = HostCounters.now()

    def stop(self) -> Telemetry:
        """The device has done the last step."""
        host = between(self._before, HostCounters.now())
        gpu: GpuTelemetry | None = self._sampler.stop() if self._sampler is not None else None
        return Telemetry(host=host, gpu=gpu)
