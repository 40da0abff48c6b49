"""What a check finds wrong with a device. The driver is faked; the checks that need none run in real processes."""

import itertools

import anyio
import pynvml
import pytest
import torch

from halftime.contract.report.failure import Failure, FailureCode
from tests.factories import gpu_telemetry, telemetry
from tests.worker.agent import sick_worker
from tests.worker.agent.test_launcher import spec, trial_processes
from tests.worker.device import fake_nvml
from tests.worker.device.fake_nvml import GIB, a100_cut, h100, memory, plant, process, recovery
from tests.worker.device.test_telemetry import trial_on
from worker.agent import child_process, quarantine
from worker.agent.launcher import TrialLauncher
from worker.agent.quarantine import DeviceMonitor, may_be_device_fault
from worker.device import health
from worker.device.architectures import has_code
from worker.errors import TrialFailed
from worker.messages import DeviceCheck, DeviceHealth
from worker.training.precision import PRECISIONS, check
from worker.trial import process as trial_process


def holding(used_bytes):
    """A GPU whose memory no process that the driver names has in use."""
    return {"nvmlDeviceGetMemoryInfo": memory(used_bytes)}


@pytest.fixture
def driver(monkeypatch):
    """Plants a driver with one GPU that answers as told."""

    def install(gpu):
        monkeypatch.setattr(health, "SETTLING_SECONDS", 0.01)
        monkeypatch.setattr(health, "POLL_SECONDS", 0.001)
        return plant(monkeypatch, *([gpu] if gpu else []))

    return install


def found(device="cuda:0"):
    return " ".join([*health.driver_faults(device), *health.held_memory(device)])


@pytest.mark.parametrize("kind", fake_nvml.KINDS.values(), ids=fake_nvml.KINDS)
def test_a_gpu_that_the_driver_finds_well_or_tells_little_of_has_no_fault(driver, kind):
    driver(kind())
    assert found() == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nvmlDeviceGetTotalEccErrors": 2}, "2 uncorrected ECC errors"),
        ({"nvmlDeviceGetRemappedRows": (0, 1, 1, 0)}, "pending remapping"),
        ({"nvmlDeviceGetRemappedRows": (0, 1, 1, 1)}, "Replace the GPU"),
        ({"nvmlDeviceGetRetiredPagesPendingStatus": 1}, "pending retirement"),
        ({"nvmlDeviceGetFieldValues": recovery(1)}, "needs a reset"),
        (holding(40 * GIB), "40960 MiB of GPU memory stay in use"),
        ({"nvmlDeviceGetUUID": pynvml.NVMLError_GpuIsLost()}, "GPU is lost"),
    ],
)
def test_what_the_driver_knows_to_be_wrong_is_a_fault(driver, changes, said):
    driver(h100(**changes))
    assert said in found()


def test_a_check_opens_the_driver_once(driver, monkeypatch):
    library = driver(h100())
    monkeypatch.setattr(torch.version, "cuda", None)  # a CPU build of torch is no fault
    assert health.check_device(DeviceCheck(device="cuda:0")).faults == []
    assert (library.times_opened, library.open) == (1, 0)


def test_a_gpu_that_the_driver_has_no_more_is_a_fault(driver):
    driver(None)
    assert "no longer lists cuda:0" in found()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nvmlDeviceGetTotalEccErrors": 2}, "2 uncorrected ECC errors"),
        ({"nvmlDeviceGetRemappedRows": (0, 1, 1, 1)}, "Replace the GPU"),
        ({"nvmlDeviceGetFieldValues": recovery(1)}, "needs a reset"),
    ],
)
def test_an_instance_is_as_sick_as_its_card(driver, changes, said):
    driver(a100_cut(places=(0,), **changes))
    assert said in found()


def test_a_recovery_that_the_gpu_does_not_report_is_none(driver):
    driver(h100(nvmlDeviceGetFieldValues=recovery(1, answered=pynvml.NVML_ERROR_NOT_SUPPORTED)))
    assert found() == ""


@pytest.mark.parametrize("kind", ["Compute", "Graphics"])
def test_memory_that_a_named_process_holds_is_no_fault(driver, kind):
    driver(h100(**holding(40 * GIB), **{f"nvmlDeviceGet{kind}RunningProcesses": [process(1)]}))
    assert found() == ""


def test_memory_that_is_freed_meanwhile_is_no_fault(driver, monkeypatch):
    used = itertools.chain([40 * GIB, 40 * GIB], itertools.repeat(0))
    driver(h100(nvmlDeviceGetMemoryInfo=memory(used)))
    monkeypatch.setattr(health, "SETTLING_SECONDS", 30.0)
    assert found() == ""


def test_a_cpu_is_not_asked_of_the_driver(driver):
    driver(h100(nvmlDeviceGetTotalEccErrors=2))
    assert list(health.driver_faults("cpu")) == []


def test_a_cuda_device_that_torch_does_not_see_is_a_fault_of_a_cuda_build_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert list(health.arithmetic_faults("cuda:0")) == []
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    (fault,) = health.arithmetic_faults("cuda:0")
    assert "finds no CUDA device" in fault


def test_an_old_driver_s_reason_is_told(monkeypatch):
    def too_old():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 12040). Please update.\nMore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", too_old)
    (fault,) = health.arithmetic_faults("cuda:0")
    assert "finds no CUDA device: The NVIDIA driver on your system is too old (found version 12040)" in fault
    with pytest.raises(TrialFailed, match="too old"):
        check(torch.device("cuda", 0), PRECISIONS["fp32"])


CUDA_13 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]


@pytest.fixture
def on_a_gpu(monkeypatch):
    """A CUDA build of torch, and a GPU of a capability; its arithmetic is the CPU's."""

    def install(capability, built_for=CUDA_13):
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built_for)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "the GPU")
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
        monkeypatch.setattr(health, "product_is_correct", lambda device: True)

    return install


def test_a_gpu_that_torch_has_no_code_for_needs_another_torch_and_no_reset(on_a_gpu):
    on_a_gpu((7, 0))
    (fault,) = health.arithmetic_faults("cuda:0")
    assert "does not support the GPU (compute capability 7.0). Install a build with sm_70" in fault
    assert "reset" not in fault.lower()
    with pytest.raises(TrialFailed, match="Install a build with sm_70") as refused:
        check(torch.device("cuda", 0), PRECISIONS["fp32"])
    assert refused.value.failure.code is FailureCode.CUDA_UNAVAILABLE


def test_a_gpu_that_cuda_finds_no_code_for_needs_no_reset_either(on_a_gpu, monkeypatch):
    def no_code(device):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors")

    on_a_gpu((8, 7))
    monkeypatch.setattr(health, "product_is_correct", no_code)
    (fault,) = health.arithmetic_faults("cuda:0")
    assert "Install a torch build for this GPU" in fault
    assert "reset" not in fault.lower()


@pytest.mark.parametrize("capability", [(7, 5), (8, 6), (8, 9), (9, 0), (12, 1), (13, 0)])
def test_a_gpu_that_torch_has_code_for_is_tried(on_a_gpu, capability):
    on_a_gpu(capability)
    assert list(health.arithmetic_faults("cuda:0")) == []
    check(torch.device("cuda", 0), PRECISIONS["fp32"])


@pytest.mark.parametrize(
    ("built_for", "capability", "runs"),
    [
        (["sm_80"], (8, 0), True),
        (["sm_80"], (8, 6), True),
        (["sm_86"], (8, 0), False),
        (["sm_80"], (9, 0), False),
        (["sm_50", "sm_60"], (7, 0), False),
        (["compute_70"], (9, 0), True),
        (["compute_90"], (8, 9), False),
        (["sm_90a"], (9, 0), True),
        (["sm_100a"], (10, 3), False),
        (["compute_90a"], (10, 0), False),
        (["sm_100f"], (10, 3), True),
        (["compute_100f"], (12, 0), False),
        (["sm_120"], (12, 1), True),
        (["gfx942"], (9, 4), False),
    ],
)
def test_code_runs_on_its_major_version_and_ptx_on_all_that_is_newer(built_for, capability, runs):
    assert has_code(built_for, capability) is runs


@pytest.mark.parametrize("processes", [[], [process(1)]], ids=["of nobody", "of a neighbour"])
def test_a_device_whose_memory_a_named_process_has_taken_is_not_sick(driver, monkeypatch, processes):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    driver(h100(nvmlDeviceGetComputeRunningProcesses=processes))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(health, "make_current", full)
    assert bool(list(health.arithmetic_faults("cuda:0"))) == (not processes)


def test_an_error_that_stays_with_the_context_is_a_fault(monkeypatch):
    def illegal(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be")

    monkeypatch.setattr(torch, "matmul", illegal)
    (fault,) = health.arithmetic_faults("cpu")
    assert "an illegal memory access was encountered. " in fault
    assert "might be" not in fault


@pytest.mark.parametrize(
    ("code", "phase", "doubtful"),
    [
        ("timeout", "measure", True),
        ("internal", "measure", True),
        ("cuda_unavailable", "measure", True),
        ("out_of_memory", "measure", True),
        ("out_of_memory", "capacity", False),
        ("internal", "capacity", True),
        ("invalid_model", "measure", False),
        ("invalid_data", "measure", False),
        ("nonfinite_loss", "measure", False),
    ],
)
def test_only_an_end_that_the_device_may_have_caused_casts_doubt_on_it(code, phase, doubtful):
    asked = spec().model_copy(update={"phase": phase})
    assert may_be_device_fault(asked, Failure.of(FailureCode(code), "so")) is doubtful


@pytest.mark.parametrize(("errors", "doubtful"), [(1, True), (0, False), (None, False)])
def test_a_trial_that_saw_an_ecc_error_casts_doubt_on_the_device(errors, doubtful):
    seen = telemetry(gpu=gpu_telemetry(uncorrected_ecc_errors=errors))
    assert may_be_device_fault(spec(), trial_on(telemetry=seen)) is doubtful


@pytest.fixture
async def watched(monkeypatch, tmp_path):
    """A launcher on whose device a fault can be planted, and the file that says which."""
    planted = tmp_path / "planted"
    planted.write_text("")
    monkeypatch.setenv("PLANTED_FAULT", str(planted))
    monkeypatch.setattr(trial_process, "main", sick_worker.planted_main)
    made = TrialLauncher()
    yield made, planted
    await made.close()


@pytest.mark.anyio
async def test_a_check_that_hangs_is_a_sick_device_and_leaves_no_process(watched, monkeypatch):
    made, planted = watched
    watch = DeviceMonitor(made, "cpu")
    assert await watch.examine() is None
    planted.write_text("hang")
    monkeypatch.setattr(quarantine, "CHECK_SECONDS", 1.0)
    assert "did not finish within" in await watch.examine()
    assert trial_processes() == []


class Planned:
    """A launcher whose checks come out as planned."""

    def __init__(self, *faults):
        self.faults = list(faults)

    async def check(self, check, deadline_seconds):
        return DeviceHealth(faults=self.faults.pop(0))


@pytest.mark.anyio
async def test_a_quarantine_ends_only_after_two_passes_in_a_row():
    watch = DeviceMonitor(Planned(["sick"], [], ["sick still"], [], []), "cuda:0")
    await watch.examine()
    said = [watch.fault]
    for _ in range(4):
        await watch.recheck()
        said.append(watch.fault)
    assert said == ["sick", "sick", "sick still", "sick still", None]


@pytest.mark.anyio
async def test_a_process_that_does_not_die_holds_up_nothing(watched, monkeypatch):
    made, planted = watched
    planted.write_text("hang")
    monkeypatch.setattr(child_process, "KILL_WAIT_SECONDS", 0.1)
    with monkeypatch.context() as immortal:
        immortal.setattr(child_process.os, "killpg", lambda group, signum: None)
        immortal.setattr("multiprocessing.popen_forkserver.Popen.kill", lambda self: None, raising=False)
        with anyio.fail_after(60):
            outcome = await made.check(DeviceCheck(device="cpu"), 0.5)
    assert outcome.code == "timeout"
    (survivor,) = trial_processes()
    survivor.kill()
    survivor.wait(30)
