"""Which device a worker takes: NVML is asked, and faked here."""

import contextlib
from types import SimpleNamespace

import pytest

from worker import device, nvml

NAMES = ["NVIDIA A10", "NVIDIA H100 80GB HBM3", "NVIDIA H200"]


class NVMLError(Exception):
    pass


def by_uuid(uuid):
    if uuid not in {f"GPU-{index}" for index in range(len(NAMES))}:
        raise NVMLError(uuid)
    return NAMES[int(uuid.removeprefix("GPU-"))]


NVML = SimpleNamespace(
    NVMLError=NVMLError,
    NVMLError_NotFound=NVMLError,
    nvmlDeviceGetCount=lambda: len(NAMES),
    nvmlDeviceGetHandleByIndex=lambda index: NAMES[index],
    nvmlDeviceGetHandleByUUID=by_uuid,
    nvmlDeviceGetUUID=lambda handle: f"GPU-{NAMES.index(handle)}" if handle in NAMES else f"MIG-{handle}",
    nvmlDeviceIsMigDeviceHandle=lambda handle: handle not in NAMES,
    nvmlDeviceGetName=lambda handle: handle,
    nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=2**36),
)


#: The H100 is cut into two instances, of seven that there could be; the A10 cannot be cut.
CUT = {0: "a", 3: "b"}


def mig_mode(handle):
    if handle == "NVIDIA A10":
        raise NVMLError("not supported")
    return (1, 1) if "H100" in handle else (0, 0)


def instance(gpu, index):
    if index not in CUT:
        raise NVMLError("not found")
    return CUT[index]


@pytest.fixture
def gpus(monkeypatch):
    monkeypatch.setattr(nvml, "opened", lambda: contextlib.nullcontext(NVML))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(NVML, "nvmlDeviceGetMigMode", lambda handle: (0, 0), raising=False)


@pytest.fixture
def cut_gpus(gpus, monkeypatch):
    monkeypatch.setattr(NVML, "nvmlDeviceGetMigMode", mig_mode)
    monkeypatch.setattr(NVML, "nvmlDeviceGetMaxMigDeviceCount", lambda gpu: 7, raising=False)
    monkeypatch.setattr(NVML, "nvmlDeviceGetMigDeviceHandleByIndex", instance, raising=False)


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
        ("0,GPU-gone,1", ["NVIDIA A10"]),
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


def test_every_gpu_is_a_device(gpus):
    assert nvml.workable_devices() == ["cuda:0", "cuda:1", "cuda:2"]


def test_only_visible_gpus_are_devices(gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert nvml.workable_devices() == ["cuda:0"]


@pytest.fixture
def lost_gpu(gpus, monkeypatch):
    """The second of three."""

    def opened(index):
        if index == 1:
            raise NVMLError("GPU is lost")
        return NAMES[index]

    monkeypatch.setattr(NVML, "nvmlDeviceGetHandleByIndex", opened)


def test_a_lost_gpu_is_no_matter_of_the_others(lost_gpu):
    assert nvml.workable_devices() == ["cuda:0", "cuda:1", "cuda:2"]
    assert device.detect("cuda:2").gpu == "NVIDIA H200"
    assert nvml.uuid_of("cuda:0") == "GPU-0"
    with pytest.raises(NVMLError, match="lost"):
        nvml.uuid_of("cuda:1")


def test_a_worker_of_a_lost_gpu_ends_with_the_remedy(lost_gpu):
    with pytest.raises(ValueError, match=r"cannot reach cuda:1: GPU is lost. Reset"):
        device.detect("cuda:1")


def test_a_lost_gpu_has_no_name_beside_one_that_is_cut(cut_gpus, monkeypatch):
    def opened(index):
        if index == 0:
            raise NVMLError("GPU is lost")
        return NAMES[index]

    monkeypatch.setattr(NVML, "nvmlDeviceGetHandleByIndex", opened)
    assert nvml.workable_devices() == ["MIG-a", "MIG-b", "GPU-2"]


def test_a_gpu_in_mig_mode_is_as_many_devices_as_it_is_cut_into(cut_gpus):
    assert nvml.workable_devices() == ["GPU-0", "MIG-a", "MIG-b", "GPU-2"]


def test_a_gpu_that_is_cut_into_several_is_no_device(cut_gpus):
    with pytest.raises(ValueError, match=r"GPU-1 is in MIG mode: name an instance .*\(MIG-a, MIG-b\)"):
        device.detect("cuda:1")
    assert device.detect("cuda:2").gpu == "NVIDIA H200"


def test_the_only_instance_that_is_to_be_seen_is_the_device(cut_gpus, monkeypatch):
    monkeypatch.delitem(CUT, 3)
    assert device.detect("cuda:1").gpu == "a"
    assert nvml.uuid_of("cuda:1") == "MIG-a"


@pytest.mark.parametrize("library", [None, SimpleNamespace(nvmlDeviceGetCount=lambda: 0)])
def test_a_machine_without_a_gpu_is_one_device(monkeypatch, library):
    monkeypatch.setattr(nvml, "opened", lambda: contextlib.nullcontext(library))
    assert nvml.workable_devices() == ["cpu"]


def test_a_gpu_is_known_by_its_uuid_whatever_its_number(gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert [nvml.uuid_of(name) for name in ("cuda:0", "cuda:1", "cuda:2", "cpu")] == ["GPU-2", "GPU-0", None, None]


@pytest.mark.parametrize(
    "said",
    [
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA driver error: out of memory",
        "Triton Error [CUDA]: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_libraries_say_in_their_own_words_that_memory_ran_out(said):
    assert device.is_out_of_memory(RuntimeError(said))
    assert not device.is_out_of_memory(ValueError(said))


def cuda_with(free, reserved=0, share=1.0, initialized=True):
    """Of 16 GiB."""
    return SimpleNamespace(
        is_initialized=lambda: initialized,
        mem_get_info=lambda: (free, 2**34),
        get_per_process_memory_fraction=lambda: share,
        memory_reserved=lambda: reserved,
    )


@pytest.mark.parametrize(
    "said",
    [
        "GET was unable to find an engine to execute this computation",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    ],
)
@pytest.mark.parametrize(
    ("cuda", "memory_ran_out"),
    [
        pytest.param(cuda_with(free=2**28), True, id="little is free"),
        pytest.param(cuda_with(free=2**33), False, id="much is free"),
        pytest.param(cuda_with(free=2**33, reserved=2**33, share=0.5), True, id="little of the share is left"),
        pytest.param(cuda_with(free=2**28, initialized=False), False, id="CUDA is not in use"),
    ],
)
def test_what_may_mean_that_memory_ran_out_does_where_little_is_left(said, cuda, memory_ran_out):
    assert device.is_out_of_memory(RuntimeError(said), cuda) is memory_ran_out


def test_a_device_that_does_not_tell_what_is_free_is_not_out_of_memory():
    def broken():
        raise RuntimeError("CUDA error: unspecified launch failure")

    cuda = cuda_with(free=0)
    cuda.mem_get_info = broken
    assert not device.is_out_of_memory(RuntimeError("unable to find an engine"), cuda)
