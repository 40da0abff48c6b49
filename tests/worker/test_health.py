"""What a check finds wrong with a device. The driver is faked; the checks that need none run in real processes."""

import contextlib
import itertools
from types import SimpleNamespace

import anyio
import pytest
import torch

from app.contract.failure import Failure, FailureCode
from tests.factories import gpu_telemetry, telemetry
from tests.worker import sick_worker
from tests.worker.test_launcher import spec, trial_processes
from tests.worker.test_telemetry import NVMLError, trial_on
from worker import health, launcher, nvml, quarantine, trial_process
from worker.launcher import TrialLauncher
from worker.messages import DeviceCheck, DeviceHealth
from worker.quarantine import DeviceWatch, casts_doubt

GIB = 2**30


class GpuIsLost(NVMLError):
    pass


def lost(*_):
    raise GpuIsLost("GPU is lost")


def not_told(*_):
    raise NVMLError("not supported")


def recovery(action, answered=0):
    return lambda *_: [SimpleNamespace(nvmlReturn=answered, value=SimpleNamespace(uiVal=action))]


HEALTHY = {
    "nvmlDeviceGetTotalEccErrors": lambda *_: 0,
    "nvmlDeviceGetRemappedRows": lambda *_: (3, 0, 0, 0),
    "nvmlDeviceGetRetiredPagesPendingStatus": lambda *_: 0,
    "nvmlDeviceGetFieldValues": recovery(0),
    "nvmlDeviceGetComputeRunningProcesses": lambda *_: [],
    "nvmlDeviceGetGraphicsRunningProcesses": lambda *_: [],
    "nvmlDeviceGetMemoryInfo": lambda *_: SimpleNamespace(used=GIB // 2),
}
UNHEARD = dict.fromkeys(HEALTHY, not_told)


@pytest.fixture
def driver(monkeypatch):
    """Plants a driver with one GPU that answers as told."""

    def plant(answers):
        library = SimpleNamespace(
            NVMLError=NVMLError,
            NVML_SUCCESS=0,
            NVML_MEMORY_ERROR_TYPE_UNCORRECTED=1,
            NVML_VOLATILE_ECC=0,
            NVML_FI_DEV_GET_GPU_RECOVERY_ACTION=230,
            nvmlDeviceGetCount=lambda: 1,
            nvmlDeviceIsMigDeviceHandle=lambda gpu: False,
            nvmlDeviceGetMigMode=lambda gpu: (0, 0),
            nvmlDeviceGetHandleByIndex=lambda index: "gpu",
        )
        vars(library).update(answers)
        monkeypatch.setattr(nvml, "opened", lambda: contextlib.nullcontext(library))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(health, "SETTLING_SECONDS", 0.01)
        monkeypatch.setattr(health, "POLL_SECONDS", 0.001)

    return plant


def found(device="cuda:0"):
    return " ".join([*health.driver_faults(device), *health.held_memory(device)])


@pytest.mark.parametrize("answers", [HEALTHY, UNHEARD], ids=["healthy", "tells nothing"])
def test_a_gpu_that_the_driver_finds_well_or_tells_nothing_of_has_no_fault(driver, answers):
    driver(answers)
    assert found() == ""


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("nvmlDeviceGetTotalEccErrors", lambda *_: 2, "2 uncorrected ECC errors"),
        ("nvmlDeviceGetRemappedRows", lambda *_: (0, 1, 1, 0), "wait to be remapped"),
        ("nvmlDeviceGetRemappedRows", lambda *_: (0, 1, 1, 1), "have the card replaced"),
        ("nvmlDeviceGetRetiredPagesPendingStatus", lambda *_: 1, "wait to be retired"),
        ("nvmlDeviceGetFieldValues", recovery(1), "asks for a reset"),
        ("nvmlDeviceGetMemoryInfo", lambda *_: SimpleNamespace(used=40 * GIB), "40960 MiB of the GPU stay held"),
        ("nvmlDeviceGetHandleByIndex", lost, "GPU is lost"),
        ("nvmlDeviceGetCount", lambda: 0, "does not see cuda:0 any more"),
    ],
)
def test_what_the_driver_knows_to_be_wrong_is_a_fault(driver, name, answer, said):
    driver(HEALTHY | {name: answer})
    assert said in found()


def test_a_recovery_that_the_gpu_does_not_report_is_none(driver):
    driver(HEALTHY | {"nvmlDeviceGetFieldValues": recovery(1, answered=3)})
    assert found() == ""


@pytest.mark.parametrize("kind", ["Compute", "Graphics"])
def test_memory_that_a_named_process_holds_is_no_fault(driver, kind):
    full = {"nvmlDeviceGetMemoryInfo": lambda *_: SimpleNamespace(used=40 * GIB)}
    driver(HEALTHY | full | {f"nvmlDeviceGet{kind}RunningProcesses": lambda *_: [SimpleNamespace(pid=1)]})
    assert found() == ""


def test_memory_that_is_freed_meanwhile_is_no_fault(driver, monkeypatch):
    used = itertools.chain([40 * GIB, 40 * GIB], itertools.repeat(0))
    driver(HEALTHY | {"nvmlDeviceGetMemoryInfo": lambda *_: SimpleNamespace(used=next(used))})
    monkeypatch.setattr(health, "SETTLING_SECONDS", 30.0)
    assert found() == ""


def test_a_cpu_is_not_asked_of_the_driver(driver):
    driver(HEALTHY | {"nvmlDeviceGetTotalEccErrors": lambda *_: 2})
    assert list(health.driver_faults("cpu")) == []


def test_a_cuda_device_that_torch_does_not_see_is_a_fault_of_a_cuda_build_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert list(health.arithmetic_faults("cuda:0")) == []
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    (fault,) = health.arithmetic_faults("cuda:0")
    assert "finds no CUDA device" in fault


@pytest.mark.parametrize("processes", [[], [SimpleNamespace(pid=1)]], ids=["of nobody", "of a neighbour"])
def test_a_device_whose_memory_a_named_process_has_taken_is_not_sick(driver, monkeypatch, processes):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    driver(HEALTHY | {"nvmlDeviceGetComputeRunningProcesses": lambda *_: processes})
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
    assert casts_doubt(asked, Failure.of(FailureCode(code), "so")) is doubtful


@pytest.mark.parametrize(("errors", "doubtful"), [(1, True), (0, False), (None, False)])
def test_a_trial_that_saw_an_ecc_error_casts_doubt_on_the_device(errors, doubtful):
    seen = telemetry(gpu=gpu_telemetry(uncorrected_ecc_errors=errors))
    assert casts_doubt(spec(), trial_on(telemetry=seen)) is doubtful


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
    watch = DeviceWatch(made, "cpu")
    assert await watch.examine() is None
    planted.write_text("hang")
    monkeypatch.setattr(quarantine, "CHECK_SECONDS", 1.0)
    assert "did not end within" in await watch.examine()
    assert trial_processes() == []


class Planned:
    """A launcher whose checks come out as planned."""

    def __init__(self, *faults):
        self.faults = list(faults)

    async def check(self, check, deadline_seconds):
        return DeviceHealth(faults=self.faults.pop(0))


@pytest.mark.anyio
async def test_a_quarantine_ends_only_after_two_passes_in_a_row():
    watch = DeviceWatch(Planned(["sick"], [], ["sick still"], [], []), "cuda:0")
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
    monkeypatch.setattr(launcher, "DYING_SECONDS", 0.1)
    with monkeypatch.context() as immortal:
        immortal.setattr(launcher.os, "killpg", lambda group, signum: None)
        immortal.setattr("multiprocessing.popen_forkserver.Popen.kill", lambda self: None, raising=False)
        with anyio.fail_after(60):
            outcome = await made.check(DeviceCheck(device="cpu"), 0.5)
    assert outcome.code == "timeout"
    (survivor,) = trial_processes()
    survivor.kill()
    survivor.wait(30)
