"""NVML while the device computes: the answer to each query, its duration, and how often the energy counter moves."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType

import torch

from testing.first_contact.lines import EnergyUpdates, Fact, NvmlAnswers
from testing.first_contact.processes import Observer
from worker.device import nvml
from worker.device.nvml import Handle

#: Repetitions of each query.
TIMES = 20

#: Side of the product that keeps the device busy, and products queued between two synchronisations.
SIDE, QUEUED = 8192, 8

#: Duration of watching the energy counter.
ENERGY_SECONDS = 2.0

Question = Callable[[], object]


def observe_load(observer: Observer) -> None:
    """Query NVML while the device is kept busy."""
    with nvml.opened() as library:
        handle = nvml.handle_of(library, observer.device_name) if library else None
        if library is None or handle is None:
            observer.write(Fact(name="NVML", value=f"has no data on {observer.device_name}"))
            return
        with Load(observer.device) as load:
            for question, ask in questions(library, handle).items():
                observer.write(answers(library, question, ask))
            observer.write(_energy(library, handle))
        observer.write(Fact(name="load while NVML was asked", value=f"{load.flops_per_second() / 1e12:.1f} TFLOP/s"))


class Load:
    """A thread that computes FP16 matrix products one after the other."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._multiply_on, name="load", daemon=True)
        self._products, self._seconds = 0, 0.0

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def flops_per_second(self) -> float:
        """Mean over the whole load."""
        return 2 * SIDE**3 * self._products / self._seconds

    def _multiply_on(self) -> None:
        torch.cuda.set_device(self._device)
        operand = torch.randn(SIDE, SIDE, device=self._device).half()
        result = torch.empty_like(operand)
        torch.cuda.synchronize(self._device)
        began, earlier = time.perf_counter(), torch.cuda.Event()
        while not self._stopping.is_set():
            for _ in range(QUEUED):
                torch.mm(operand, operand, out=result)
            self._products += QUEUED
            queued = torch.cuda.Event()
            queued.record()
            earlier.synchronize()  # the products queued last keep the device busy meanwhile
            earlier = queued
        torch.cuda.synchronize(self._device)
        self._seconds = time.perf_counter() - began


def questions(library: ModuleType, handle: Handle) -> dict[str, Question]:
    """Queries of telemetry, of health checks, of the search for other processes, and others they could use."""
    uncorrected = library.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, library.NVML_VOLATILE_ECC
    action = getattr(library, "NVML_FI_DEV_GET_GPU_RECOVERY_ACTION", None)
    return {
        "SM clock (MHz)": lambda: library.nvmlDeviceGetClockInfo(handle, library.NVML_CLOCK_SM),
        "memory clock (MHz)": lambda: library.nvmlDeviceGetClockInfo(handle, library.NVML_CLOCK_MEM),
        "largest SM clock (MHz)": lambda: library.nvmlDeviceGetMaxClockInfo(handle, library.NVML_CLOCK_SM),
        "temperature (C)": lambda: library.nvmlDeviceGetTemperature(handle, library.NVML_TEMPERATURE_GPU),
        "power (mW)": lambda: library.nvmlDeviceGetPowerUsage(handle),
        "power limit (mW)": lambda: library.nvmlDeviceGetEnforcedPowerLimit(handle),
        "energy (mJ)": lambda: library.nvmlDeviceGetTotalEnergyConsumption(handle),
        "clock limits": lambda: hex(library.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
        "performance state": lambda: library.nvmlDeviceGetPerformanceState(handle),
        "utilisation": lambda: _fields(library.nvmlDeviceGetUtilizationRates(handle)),
        "memory": lambda: _fields(library.nvmlDeviceGetMemoryInfo(handle)),
        "memory, version 2": lambda: _fields(library.nvmlDeviceGetMemoryInfo(handle, version=library.nvmlMemory_v2)),
        "computing processes": lambda: [
            (one.pid, one.usedGpuMemory) for one in library.nvmlDeviceGetComputeRunningProcesses(handle)
        ],
        "drawing processes": lambda: [one.pid for one in library.nvmlDeviceGetGraphicsRunningProcesses(handle)],
        "is a MIG instance": lambda: bool(library.nvmlDeviceIsMigDeviceHandle(handle)),
        "MIG mode": lambda: library.nvmlDeviceGetMigMode(handle),
        "uncorrected ECC errors": lambda: library.nvmlDeviceGetTotalEccErrors(handle, *uncorrected),
        "remapped rows": lambda: library.nvmlDeviceGetRemappedRows(handle),
        "retired pages pending": lambda: library.nvmlDeviceGetRetiredPagesPendingStatus(handle),
        "compute capability": lambda: library.nvmlDeviceGetCudaComputeCapability(handle),
        "compute mode": lambda: library.nvmlDeviceGetComputeMode(handle),
        "virtualisation": lambda: library.nvmlDeviceGetVirtualizationMode(handle),
        "recovery action": lambda: _field(library, handle, action),
    }


def answers(library: ModuleType, question: str, ask: Question) -> NvmlAnswers:
    """Repeat a query and keep the distinct answers."""
    results, milliseconds = [], []
    for _ in range(TIMES):
        began = time.perf_counter()
        try:
            answer = ask()
        except (library.NVMLError, AttributeError) as error:
            return NvmlAnswers(
                question=question,
                answers=[],
                median_milliseconds=None,
                largest_milliseconds=None,
                error=f"{type(error).__name__}: {error}",
            )
        milliseconds.append(1000 * (time.perf_counter() - began))
        results.append(str(answer))
    return NvmlAnswers(
        question=question,
        answers=list(dict.fromkeys(results)),
        median_milliseconds=statistics.median(milliseconds),
        largest_milliseconds=max(milliseconds),
    )


def _energy(library: ModuleType, handle: Handle) -> EnergyUpdates:
    """Read the energy counter continuously."""
    began, readings = time.perf_counter(), [library.nvmlDeviceGetTotalEnergyConsumption(handle)]
    for reading in _read_on(library, handle, began):
        if reading != readings[-1]:
            readings.append(reading)
    seconds = time.perf_counter() - began
    return EnergyUpdates(
        updates_per_second=(len(readings) - 1) / seconds, watts=(readings[-1] - readings[0]) / 1000 / seconds
    )


def _read_on(library: ModuleType, handle: Handle, began: float) -> Iterator[int]:
    while time.perf_counter() - began < ENERGY_SECONDS:
        yield library.nvmlDeviceGetTotalEnergyConsumption(handle)


def _fields(structure: object) -> str:
    """Fields of an NVML structure, by name."""
    names = [name for name, *_ in getattr(structure, "_fields_", [])]
    return ", ".join(f"{name}={getattr(structure, name)}" for name in names)


def _field(library: ModuleType, handle: Handle, field: int | None) -> str:
    if field is None:
        return "these bindings have no such field"
    (value,) = library.nvmlDeviceGetFieldValues(handle, [field])
    return f"returned {value.nvmlReturn}, value {value.value.uiVal}"
