"""Which device a worker takes: NVML is asked, and faked here."""

import contextlib
from types import SimpleNamespace

import pytest

from worker import device, nvml

NAMES = ["NVIDIA A10", "NVIDIA H100 80GB HBM3", "NVIDIA H200"]

NVML = SimpleNamespace(
    nvmlDeviceGetCount=lambda: len(NAMES),
    nvmlDeviceGetHandleByIndex=lambda index: NAMES[index],
    nvmlDeviceGetHandleByUUID=lambda uuid: NAMES[int(uuid.removeprefix("GPU-"))],
    nvmlDeviceGetName=lambda handle: handle,
    nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=2**36),
)


@pytest.fixture
def gpus(monkeypatch):
    monkeypatch.setattr(nvml, "opened", lambda: contextlib.nullcontext(NVML))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_auto_takes_the_first_gpu(gpus):
    assert device.detect("auto").gpu == "NVIDIA A10"


def test_auto_takes_the_cpu_where_there_is_no_driver(monkeypatch):
    monkeypatch.setattr(nvml, "opened", lambda: contextlib.nullcontext(None))
    assert device.detect("auto").kind == "cpu"
    assert device.gpu_count() == 0


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("2,0", ["NVIDIA H200", "NVIDIA A10"]),
        ("GPU-1", ["NVIDIA H100 80GB HBM3"]),
        ("0,-1,1", ["NVIDIA A10"]),
        ("", []),
    ],
)
def test_gpus_are_numbered_as_cuda_numbers_them(gpus, monkeypatch, visible, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device.gpu_count() == len(names)
    assert [device.detect(f"cuda:{index}").gpu for index in range(len(names))] == names


@pytest.mark.parametrize("choice", ["cuda:3", "cuda:x", "tpu"])
def test_a_device_that_is_not_there_is_refused_with_the_remedy(gpus, choice):
    with pytest.raises(ValueError, match=r"use `--device cpu`|use `cpu`"):
        device.detect(choice)
