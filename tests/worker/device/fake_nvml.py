"""A driver in NVML's place that answers as real ones do, with the constants and exceptions of the real binding.

A GPU tells what it is given answers for, by the name of the binding's function; every other question is not supported.
An answer is a value, something to call, or an exception.
"""

# ruff: noqa: N802 # named as the binding names them

import functools
import itertools
import sys
from ctypes import c_uint
from types import SimpleNamespace

import pynvml

MIB, GIB = 2**20, 2**30

#: Of the kinds of GPU below, the UUID of each in its machine.
UUID = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
INSTANCE_UUIDS = ("MIG-1b3c7a55-0d1e-5b44-9c3e-0f6f2a3c1d11", "MIG-1b9e20c4-6f0a-51d2-8a77-d2b8c6e4f022")

#: No process has these numbers here: they are those of the host, or of another container.
TRIAL_ON_THE_HOST, FOREIGN_ON_THE_HOST = 4_190_001, 4_190_002


class FakeGpu:
    """A GPU, or an instance of one; it is its own handle."""

    def __init__(self, answers):
        self.answers = answers
        #: By the place that each has among those there could be.
        self.instances = {}

    def answer(self, question, *arguments):
        found = self.answers.get(question, pynvml.NVMLError_NotSupported())
        if isinstance(found, Exception):
            raise found
        return found(*arguments) if callable(found) else found


class FakeNvml:
    """The binding, on a machine with these GPUs."""

    def __init__(self, *gpus):
        self.gpus = list(gpus)
        #: How often it is open now, and was opened in all.
        self.open = self.times_opened = 0

    def nvmlInit(self):
        self.times_opened += self.open == 0
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        self.gpus[index].answer("nvmlDeviceGetUUID")
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid):
        for part in [part for gpu in self.gpus for part in (gpu, *gpu.instances.values())]:
            known = part.answers["nvmlDeviceGetUUID"]
            if isinstance(known, str) and known == uuid:  # else it is lost
                return part
        raise pynvml.NVMLError_NotFound

    def nvmlSystemGetDriverVersion(self):
        return "580.95.05"

    def __getattr__(self, name):
        real = getattr(pynvml, name)  # what the binding does not have, nobody may ask for
        return functools.partial(self._ask, name) if name.startswith("nvmlDevice") else real

    def _ask(self, question, gpu, *arguments):
        if not self.open:
            raise pynvml.NVMLError_Uninitialized
        if gpu is None:
            raise pynvml.NVMLError_InvalidArgument
        return gpu.answer(question, *arguments)


def plant(monkeypatch, *gpus):
    """Puts a driver with these GPUs in the place of the real one."""
    driver = FakeNvml(*gpus)
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return driver


def process(pid, used_bytes=GIB):
    return SimpleNamespace(pid=pid, usedGpuMemory=used_bytes)


def memory(used, total=80 * GIB, reserved=578 * MIB):
    """As the driver tells it since release 510, and as before: with what it keeps for itself in what is used.

    What is used can be an iterator: another figure at each look.
    """
    figures = itertools.repeat(used) if isinstance(used, int) else used

    def answer(version=None):
        used = next(figures)
        if version is None:
            return SimpleNamespace(total=total, used=used + reserved, free=total - used - reserved)
        assert version == pynvml.nvmlMemory_v2
        return SimpleNamespace(total=total, used=used, reserved=reserved, free=total - used - reserved)

    return answer


def memory_of_old(used, total):
    """Of a driver that does not know the newer question."""

    def answer(version=None):
        if version is not None:
            raise pynvml.NVMLError_FunctionNotFound
        return SimpleNamespace(total=total, used=used, free=total - used)

    return answer


def recovery(action, answered=pynvml.NVML_SUCCESS):
    return lambda fields: [SimpleNamespace(nvmlReturn=answered, value=SimpleNamespace(uiVal=action))]


#: What an instance does not tell of itself.
OF_THE_CARD = {
    "nvmlDeviceGetClockInfo": 1980,
    "nvmlDeviceGetTemperature": 61,
    "nvmlDeviceGetPowerUsage": 650_000,
    "nvmlDeviceGetCurrentClocksEventReasons": 0,
    "nvmlDeviceGetTotalEnergyConsumption": 1_000_000,
    "nvmlDeviceGetTotalEccErrors": 0,
    "nvmlDeviceGetRemappedRows": (3, 0, 0, 0),
    "nvmlDeviceGetFieldValues": recovery(pynvml.NVML_GPU_RECOVERY_ACTION_NONE),
    "nvmlDeviceGetDisplayActive": 0,
}


def h100(**changes):
    """Whole, on a host of its own, with nothing on it."""
    return FakeGpu(
        OF_THE_CARD
        | {
            "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
            "nvmlDeviceGetUUID": UUID,
            "nvmlDeviceIsMigDeviceHandle": lambda: c_uint(0),
            "nvmlDeviceGetMigMode": [0, 0],
            "nvmlDeviceGetMaxMigDeviceCount": 0,
            "nvmlDeviceGetMemoryInfo": memory(used=4 * MIB, total=81_559 * MIB, reserved=578 * MIB),
            "nvmlDeviceGetComputeRunningProcesses": [],
            "nvmlDeviceGetGraphicsRunningProcesses": [],
        }
        | changes
    )


def t4(**changes):
    """Older than MIG: it does not even answer whether a handle is that of an instance."""
    told = {
        "nvmlDeviceGetName": "Tesla T4",
        "nvmlDeviceGetMemoryInfo": memory(used=2 * MIB, total=15_360 * MIB, reserved=448 * MIB),
        "nvmlDeviceGetRetiredPagesPendingStatus": 0,
        "nvmlDeviceGetFieldValues": recovery(0, answered=pynvml.NVML_ERROR_NOT_SUPPORTED),
    }
    gpu = h100(**told | changes)
    for unknown in ("IsMigDeviceHandle", "GetMigMode", "GetMaxMigDeviceCount", "GetRemappedRows"):
        del gpu.answers[f"nvmlDevice{unknown}"]
    return gpu


def a100_cut(places=(0, 3), **changes):
    """In MIG mode, cut into instances at these places of seven."""
    told = {
        "nvmlDeviceGetName": "NVIDIA A100-SXM4-40GB",
        "nvmlDeviceGetMigMode": [1, 1],
        "nvmlDeviceGetMaxMigDeviceCount": 7,
        "nvmlDeviceGetComputeRunningProcesses": pynvml.NVMLError_NoPermission(),
    }
    card = h100(**told | changes)
    card.instances = {place: _instance(card, uuid) for place, uuid in zip(places, INSTANCE_UUIDS, strict=False)}
    card.answers["nvmlDeviceGetMigDeviceHandleByIndex"] = lambda place: _at(card, place)
    return card


def _at(card, place):
    if place not in card.instances:
        raise pynvml.NVMLError_NotFound
    return card.instances[place]


def _instance(card, uuid):
    return FakeGpu(
        {
            "nvmlDeviceGetName": "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
            "nvmlDeviceGetUUID": uuid,
            "nvmlDeviceIsMigDeviceHandle": lambda: c_uint(1),
            "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": card,
            "nvmlDeviceGetMemoryInfo": memory(used=12 * MIB, total=19_968 * MIB, reserved=10 * MIB),
            "nvmlDeviceGetComputeRunningProcesses": [],
            "nvmlDeviceGetGraphicsRunningProcesses": [],
        }
    )


def vgpu(**changes):
    """A share of a GPU in a virtual machine: the guest's driver tells of memory and little else."""
    return FakeGpu(
        {
            "nvmlDeviceGetName": "GRID A100D-20C",
            "nvmlDeviceGetUUID": UUID,
            "nvmlDeviceGetMemoryInfo": memory_of_old(used=1_300 * MIB, total=20_480 * MIB),
        }
        | changes
    )


def unified(**changes):
    """A GPU without memory of its own, as on a DGX Spark."""
    gpu = h100(**{"nvmlDeviceGetName": "NVIDIA GB10"} | changes)
    del gpu.answers["nvmlDeviceGetMemoryInfo"]
    return gpu


def of_an_old_driver(**changes):
    """Older than the binding: the question for processes has a version that this driver does not know."""
    told = {
        "nvmlDeviceGetComputeRunningProcesses": pynvml.NVMLLibraryMismatchError("Unversioned function called"),
        "nvmlDeviceGetGraphicsRunningProcesses": pynvml.NVMLLibraryMismatchError("Unversioned function called"),
        "nvmlDeviceGetCurrentClocksEventReasons": pynvml.NVMLError_FunctionNotFound(),
        "nvmlDeviceGetCurrentClocksThrottleReasons": 0,
        "nvmlDeviceGetMemoryInfo": memory_of_old(used=600 * MIB, total=81_559 * MIB),
    }
    return h100(**told | changes)


#: Each with the name that tests are known by.
KINDS = {
    "H100": h100,
    "T4": t4,
    "A100 with one instance": functools.partial(a100_cut, places=(2,)),
    "vGPU": vgpu,
    "unified memory": unified,
    "old driver": of_an_old_driver,
}
