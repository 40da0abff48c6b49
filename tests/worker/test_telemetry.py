"""What the machine did during a trial, and when that spoils it. The GPU is faked; the host is real."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import psutil
import pytest
import torch

from tests.factories import comparison, gpu_telemetry, request, spread, telemetry, trial
from worker import nvml
from worker.messages import TrialSpec
from worker.telemetry import gpu as gpus
from worker.telemetry import host, neighbours
from worker.telemetry.disturbance import disturbances
from worker.telemetry.gpu import GpuSampler
from worker.telemetry.neighbours import Neighbours
from worker.telemetry.region import MeasuredRegion

SPEC = TrialSpec(
    device="cpu",
    precision="fp32",
    block=0,
    position=0,
    model=request().model,
    training=comparison().request.config.training,
)


def trial_on(**changes):
    return trial(SPEC, **changes)


class NVMLError(Exception):
    pass


def fake_nvml(processes=(), limits=0, unsupported=(), energies=None):
    """A driver with one GPU; `unsupported` questions raise, as NVML does."""
    energies = iter(energies or [])

    def answers(name, value):
        def answer(*_):
            if name in unsupported:
                raise NVMLError
            return value() if callable(value) else value

        return answer

    told = {
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceIsMigDeviceHandle": False,
        "nvmlDeviceGetMigMode": (0, 0),
        "nvmlDeviceGetHandleByIndex": "gpu",
        "nvmlDeviceGetClockInfo": 1980,
        "nvmlDeviceGetTemperature": 61,
        "nvmlDeviceGetPowerUsage": 650_000,
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=2**30, total=2**36),
        "nvmlDeviceGetCurrentClocksThrottleReasons": limits,
        "nvmlDeviceGetTotalEccErrors": 0,
        "nvmlDeviceGetTotalEnergyConsumption": lambda: next(energies, 0),
        "nvmlDeviceGetComputeRunningProcesses": lambda: list(processes),
    }
    constants = dict.fromkeys(
        ("NVML_CLOCK_SM", "NVML_TEMPERATURE_GPU", "NVML_MEMORY_ERROR_TYPE_UNCORRECTED", "NVML_VOLATILE_ECC"), 0
    )
    functions = {name: answers(name, value) for name, value in told.items()}
    return SimpleNamespace(**functions, **constants, NVMLError=NVMLError)


def sampled(library, seconds=0.0):
    sampler = GpuSampler(library, "gpu")
    sampler.start()
    time.sleep(seconds)
    return sampler.stop()


def test_even_the_shortest_region_has_a_sample():
    found = sampled(fake_nvml())
    assert found.samples >= 1
    assert found.sm_clock_mhz.median == 1980
    assert found.power_watts.largest == 650
    assert found.largest_used_bytes == 2**30


def test_a_longer_region_is_sampled_by_a_thread():
    assert sampled(fake_nvml(), seconds=0.35).samples >= 3


def test_what_the_driver_does_not_tell_is_null_and_not_an_error():
    found = sampled(
        fake_nvml(
            unsupported={
                "nvmlDeviceGetPowerUsage",
                "nvmlDeviceGetTotalEccErrors",
                "nvmlDeviceGetTotalEnergyConsumption",
                "nvmlDeviceGetCurrentClocksThrottleReasons",
            }
        )
    )
    assert (found.power_watts, found.uncorrected_ecc_errors, found.energy_joules) == (None, None, None)
    assert found.clock_limits == {}


def test_reasons_for_lowered_clocks_are_named():
    assert sampled(fake_nvml(limits=0x4 | 0x40)).clock_limits == {"power_cap": 1.0, "hardware_thermal_slowdown": 1.0}


def test_energy_is_told_of_a_region_long_enough_only(monkeypatch):
    assert sampled(fake_nvml(energies=[1_000_000, 1_700_000])).energy_joules is None
    monkeypatch.setattr(gpus, "LEAST_ENERGY_REGION_SECONDS", 0.0)
    assert sampled(fake_nvml(energies=[1_000_000, 1_700_000])).energy_joules == 700


def test_a_quiet_trial_is_not_disturbed():
    assert disturbances(trial_on(), [trial_on(), trial_on()], cores=2) == []
    on_gpu = telemetry(gpu_telemetry(clock_limits={"power_cap": 0.9}))
    assert disturbances(trial_on(telemetry=on_gpu), [trial_on(telemetry=on_gpu)]) == []


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (telemetry(foreign_cores=0.5), "other programs kept 0.5 of 2 cores busy"),
        (telemetry(cpu_seconds_per_second=1.0), "CPU seconds per second"),
        (telemetry(gpu_telemetry(sm_clock_mhz=spread(1200))), "the SM clock was 1200 MHz, its leg's 1980 MHz"),
        (telemetry(gpu_telemetry(clock_limits={"thermal_slowdown": 0.1})), "slowed itself: thermal slowdown"),
        (telemetry(gpu_telemetry(uncorrected_ecc_errors=1)), "1 uncorrected ECC errors"),
        (telemetry(gpu_telemetry(foreign_processes=["process 7"])), "process 7, was on the GPU"),
    ],
)
def test_what_spoils_a_trial_is_said(seen, reason):
    usual = telemetry(gpu_telemetry() if seen.gpu else None)
    (found,) = disturbances(trial_on(telemetry=seen), [trial_on(telemetry=usual)] * 2, cores=2)
    assert reason in found


def test_a_machine_that_multiplies_more_slowly_than_usual_spoils_a_trial_on_the_cpu():
    (found,) = disturbances(trial_on(ceiling_flops_per_second=0.7e9), [trial_on()], cores=2)
    assert "multiplied at 0.7 GFLOP/s" in found


def test_a_region_too_short_to_judge_is_not_judged():
    seen = telemetry(foreign_cores=None, cpu_seconds_per_second=0.1)
    assert disturbances(trial_on(telemetry=seen), [trial_on()], cores=2) == []
    assert disturbances(trial_on(telemetry=seen, ceiling_flops_per_second=1.0), [trial_on()], cores=2) != []


#: Starts a process that computes for twenty seconds, says its id, and ends: what it started is nobody's child then.
SPINNER = """
import os, time
until = time.time() + 20
child = os.fork()
if child:
    print(child, flush=True)
    os._exit(0)
os.close(1), os.close(2)
while time.time() < until:
    pass
"""


@pytest.fixture
def other_program():
    """A program that is none of ours keeps a core busy."""
    pid = int(subprocess.run([sys.executable, "-c", SPINNER], capture_output=True, check=True).stdout)
    yield
    os.kill(pid, signal.SIGKILL)


def over_a_second():
    before, started = host.HostCounters.now(), time.monotonic()
    while time.monotonic() - started < 2 * host.LEAST_REGION_SECONDS:
        pass
    return host.between(before, host.HostCounters.now())


def test_another_program_s_work_is_seen(other_program):
    found = over_a_second()
    assert found.foreign_cores > 0.3
    assert found.cpu_seconds_per_second > 0.1


def test_work_of_one_s_own_children_is_not_taken_for_another_s():
    own = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before, ours_before, started = host.HostCounters.now(), time.process_time(), time.monotonic()
        childs_before = sum(psutil.Process(own.pid).cpu_times()[:2])
        over_a_second()
        childs = sum(psutil.Process(own.pid).cpu_times()[:2]) - childs_before
        found = host.between(before, host.HostCounters.now())
        ours, seconds = time.process_time() - ours_before, time.monotonic() - started
    finally:
        own.kill()
        own.wait()
    # Whatever share of the machine the two were given: others may be at work.
    assert found.cpu_seconds_per_second * seconds > 0.9 * (ours + childs) > 0.9 * ours + 0.1


def processes_then_none(*pids):
    """A GPU that is busy for as many looks as there are lists."""
    looks = iter([[SimpleNamespace(pid=pid, usedGpuMemory=2**30)] for pid in pids])
    return lambda: next(looks, [])


@pytest.fixture
def driver(monkeypatch):
    def install(processes):
        library = fake_nvml()
        library.nvmlDeviceGetComputeRunningProcesses = lambda handle: processes()
        monkeypatch.setattr(nvml, "opened", lambda: contextlib.nullcontext(library))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    monkeypatch.setattr(neighbours, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(neighbours, "GRACE_SECONDS", 0.0)
    return install


@pytest.mark.anyio
async def test_a_trial_waits_until_it_is_alone_on_the_gpu(driver):
    driver(processes_then_none(7, 7, 7))
    seen = await Neighbours().wait_until_alone("cuda:0")
    assert seen.processes == []
    assert seen.used_bytes == 2**30


@pytest.mark.anyio
async def test_it_waits_in_vain_once_and_then_says_who_is_there(driver, monkeypatch):
    driver(lambda: [SimpleNamespace(pid=7, usedGpuMemory=2**30)])
    monkeypatch.setattr(neighbours, "PATIENCE_SECONDS", 0.05)
    watch = Neighbours()
    before = await watch.wait_until_alone("cuda:0")
    monkeypatch.setattr(neighbours, "PATIENCE_SECONDS", 3600.0)
    assert await watch.wait_until_alone("cuda:0") == before
    result = await watch.note("cuda:0", trial_on(telemetry=telemetry(gpu_telemetry())), before)
    assert result.telemetry.gpu.foreign_processes == ["process 7, 1024 MiB"]
    assert result.telemetry.gpu.held_before_bytes == 2**30


@pytest.mark.anyio
async def test_a_process_that_came_during_the_trial_is_noted(driver):
    driver(lambda: [])
    watch = Neighbours()
    before = await watch.wait_until_alone("cuda:0")
    driver(lambda: [SimpleNamespace(pid=8, usedGpuMemory=None)])
    result = await watch.note("cuda:0", trial_on(telemetry=telemetry(gpu_telemetry())), before)
    assert result.telemetry.gpu.foreign_processes == ["process 8"]


@pytest.mark.anyio
async def test_memory_that_nobody_claims_is_foreign_work_as_well(driver, monkeypatch):
    driver(lambda: [])
    monkeypatch.setattr(neighbours, "UNCLAIMED_BYTES", 2**29)
    monkeypatch.setattr(neighbours, "PATIENCE_SECONDS", 0.0)
    assert (await Neighbours().wait_until_alone("cuda:0")).processes == ["a process that NVML does not name, 1024 MiB"]


@pytest.mark.anyio
async def test_where_nvml_does_not_tell_nothing_is_claimed(driver):
    driver(lambda: [])
    watch = Neighbours()
    before = await watch.wait_until_alone("cuda:0")

    def refuse():
        raise NVMLError

    driver(refuse)
    result = await watch.note("cuda:0", trial_on(telemetry=telemetry(gpu_telemetry())), before)
    assert result.telemetry.gpu.foreign_processes is None


def test_a_region_that_breaks_off_leaves_no_thread(monkeypatch):
    library = fake_nvml()
    monkeypatch.setattr(nvml, "opened", lambda: contextlib.nullcontext(library))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(RuntimeError), MeasuredRegion(torch.device("cuda", 0)) as region:
        region.start()
        raise RuntimeError
    assert not [thread for thread in threading.enumerate() if thread.name == "sample the GPU"]


@pytest.mark.anyio
async def test_on_a_cpu_nobody_is_asked(driver):
    driver(lambda: pytest.fail("asked"))
    watch = Neighbours()
    assert await watch.wait_until_alone("cpu") is None
    result = trial_on()
    assert await watch.note("cpu", result, None) is result
