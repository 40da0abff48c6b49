"""Which device a worker takes: NVML is asked, and faked here."""

import os
from types import SimpleNamespace

import pynvml
import pytest
from typer.testing import CliRunner

from tests.worker.device import fake_nvml
from tests.worker.device.fake_nvml import INSTANCE_UUIDS, a100_cut, h100, plant, t4
from worker import __main__ as command
from worker.device import detection, nvml
from worker.errors.out_of_memory import is_out_of_memory
from worker.trial import probe as doctor

NAMES = ["NVIDIA A10", "NVIDIA H100 80GB HBM3", "NVIDIA H200"]


def numbered(index, kind=h100, **changes):
    return kind(nvmlDeviceGetName=NAMES[index], nvmlDeviceGetUUID=f"GPU-{index}", **changes)


@pytest.fixture
def gpus(monkeypatch):
    return plant(monkeypatch, *map(numbered, range(3)))


@pytest.fixture
def cut_gpus(gpus):
    """The H100 is cut into two instances, of seven that there could be."""
    cut = gpus.gpus[1] = a100_cut(nvmlDeviceGetUUID="GPU-1")
    for instance, uuid in zip(cut.instances.values(), ("MIG-a", "MIG-b"), strict=True):
        instance.answers |= {"nvmlDeviceGetUUID": uuid, "nvmlDeviceGetName": uuid.removeprefix("MIG-")}
    return gpus


@pytest.fixture
def lost_gpu(gpus):
    """The second of three."""
    gpus.gpus[1].answers["nvmlDeviceGetUUID"] = pynvml.NVMLError_GpuIsLost()


def test_auto_takes_the_first_gpu(gpus):
    assert detection.detect("auto").gpu == "NVIDIA A10"


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
    assert detection.gpu_count() == len(names)
    assert [detection.detect(f"cuda:{index}").gpu for index in range(len(names))] == names


@pytest.mark.parametrize("choice", ["cuda:3", "cuda:x", "tpu"])
def test_a_device_that_is_not_there_is_refused_with_the_remedy(gpus, choice):
    with pytest.raises(ValueError, match=r"[Uu]se `--device cpu`|Use `cpu`"):
        detection.detect(choice)


def test_every_gpu_is_a_device(gpus):
    assert nvml.available_devices() == ["cuda:0", "cuda:1", "cuda:2"]


def test_only_visible_gpus_are_devices(gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert nvml.available_devices() == ["cuda:0"]


def test_a_lost_gpu_is_no_matter_of_the_others(lost_gpu):
    assert nvml.available_devices() == ["cuda:0", "cuda:1", "cuda:2"]
    assert detection.detect("cuda:2").gpu == "NVIDIA H200"
    assert nvml.uuid_of("cuda:0") == "GPU-0"
    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        nvml.uuid_of("cuda:1")


def test_a_worker_of_a_lost_gpu_ends_with_the_remedy(lost_gpu):
    with pytest.raises(ValueError, match=r"cannot reach cuda:1: GPU is lost. Reset"):
        detection.detect("cuda:1")


def test_a_lost_gpu_has_no_name_beside_one_that_is_cut(cut_gpus):
    cut_gpus.gpus[0].answers["nvmlDeviceGetUUID"] = pynvml.NVMLError_GpuIsLost()
    assert nvml.available_devices() == ["MIG-a", "MIG-b", "GPU-2"]


def test_a_gpu_in_mig_mode_is_as_many_devices_as_it_is_cut_into(cut_gpus):
    assert nvml.available_devices() == ["GPU-0", "MIG-a", "MIG-b", "GPU-2"]


def test_a_gpu_that_is_cut_into_several_is_no_device(cut_gpus):
    with pytest.raises(
        ValueError, match=r"GPU-1 is in MIG mode. Set CUDA_VISIBLE_DEVICES to an instance \(MIG-a, MIG-b\)"
    ):
        detection.detect("cuda:1")
    assert detection.detect("cuda:2").gpu == "NVIDIA H200"


def test_the_only_instance_that_is_to_be_seen_is_the_device(cut_gpus):
    del cut_gpus.gpus[1].instances[3]
    assert detection.detect("cuda:1").gpu == "a"
    assert nvml.uuid_of("cuda:1") == "MIG-a"


def test_a_machine_without_a_gpu_is_one_device(monkeypatch):
    plant(monkeypatch)
    assert nvml.available_devices() == ["cpu"]


@pytest.mark.parametrize("error", [pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded])
def test_a_machine_without_a_driver_is_one_device(monkeypatch, error):
    monkeypatch.setattr(plant(monkeypatch, h100()), "nvmlInit", lambda: raised(error))
    assert nvml.available_devices() == ["cpu"]
    assert detection.detect("auto").kind == "cpu"
    assert detection.gpu_count() == 0


def raised(error):
    raise error


def test_a_gpu_is_known_by_its_uuid_whatever_its_number(gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert [nvml.uuid_of(name) for name in ("cuda:0", "cuda:1", "cuda:2", "cpu")] == ["GPU-2", "GPU-0", None, None]


@pytest.mark.parametrize("kind", fake_nvml.KINDS.values(), ids=fake_nvml.KINDS)
def test_every_kind_of_gpu_is_a_device(monkeypatch, kind):
    gpu = kind()
    plant(monkeypatch, gpu)
    whole = not gpu.instances
    assert nvml.available_devices() == (["cuda:0"] if whole else [INSTANCE_UUIDS[0]])
    found = detection.detect("auto")
    assert found.name == "cuda:0"
    (part,) = [gpu] if whole else gpu.instances.values()
    assert found.gpu == part.answers["nvmlDeviceGetName"]
    assert nvml.uuid_of("cuda:0") == part.answers["nvmlDeviceGetUUID"]


def test_a_gpu_that_is_older_than_mig_is_no_lost_one(monkeypatch):
    plant(monkeypatch, t4())
    assert detection.detect("cuda:0").gpu == "Tesla T4"
    with nvml.opened() as library:
        assert not nvml.is_instance(library, library.gpus[0])


@pytest.fixture
def known_by_uuid(monkeypatch):
    """Two GPUs, the second of them cut into two instances, and a third that is lost."""
    second = a100_cut(nvmlDeviceGetUUID="GPU-8932aaaa-0000-4106-c12f-20bd9faed9f6")
    third = h100(nvmlDeviceGetUUID=pynvml.NVMLError_GpuIsLost())
    return plant(monkeypatch, h100(nvmlDeviceGetUUID=fake_nvml.UUID), second, third)


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        (fake_nvml.UUID, [fake_nvml.UUID]),
        ("GPU-8932f937", [fake_nvml.UUID]),
        ("MIG-1b9", [INSTANCE_UUIDS[1]]),
        ("MIG-1b9,GPU-8932f", [INSTANCE_UUIDS[1], fake_nvml.UUID]),
        ("GPU-8932", []),
        ("MIG-1b", []),
        ("GPU-8932f,GPU-8932,MIG-1b9", [fake_nvml.UUID]),
        ("GPU-8932f,GPU-77,MIG-1b9", [fake_nvml.UUID]),
        ("GPU-8932f,MIG-1b9,GPU-8932f9", []),
        ("8932f937", []),
        ("0,0", []),
    ],
)
def test_the_beginning_of_a_uuid_names_a_gpu_as_for_cuda(known_by_uuid, monkeypatch, visible, uuids):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert detection.gpu_count() == len(uuids)
    assert [nvml.uuid_of(f"cuda:{index}") for index in range(len(uuids))] == uuids


def test_doctor_and_worker_mean_the_same_gpu_by_a_number(monkeypatch):
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "to be put back")
    monkeypatch.delenv("CUDA_DEVICE_ORDER")
    monkeypatch.setattr(doctor, "probe_devices", lambda: os.environ["CUDA_DEVICE_ORDER"])
    assert CliRunner().invoke(command.cli, ["probe"]).output == '"PCI_BUS_ID"\n'


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
    assert is_out_of_memory(RuntimeError(said))
    assert not is_out_of_memory(ValueError(said))


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
    assert is_out_of_memory(RuntimeError(said), cuda) is memory_ran_out


def test_a_device_that_does_not_tell_what_is_free_is_not_out_of_memory():
    def broken():
        raise RuntimeError("CUDA error: unspecified launch failure")

    cuda = cuda_with(free=0)
    cuda.mem_get_info = broken
    assert not is_out_of_memory(RuntimeError("unable to find an engine"), cuda)
