"""What the machine did during a trial, and when that spoils it. The GPU is faked; the host is real."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import anyio
import psutil
import pynvml
import pytest
import torch

from tests.factories import comparison, gpu_telemetry, request, spread, telemetry, trial
from tests.worker.device import fake_nvml
from tests.worker.device.fake_nvml import (
    FOREIGN_ON_THE_HOST,
    GIB,
    MIB,
    TRIAL_ON_THE_HOST,
    a100_cut,
    h100,
    memory,
    plant,
    process,
    t4,
    vgpu,
)
from worker.comparison.disturbance import disturbances
from worker.device import gpu_sampler as gpus
from worker.device import host_counters, other_processes
from worker.device.measured_region import MeasuredRegion
from worker.device.other_processes import OtherProcesses, with_usage
from worker.messages import TrialSpec

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


def sampled(monkeypatch, gpu, seconds=0.0):
    plant(monkeypatch, gpu)
    with MeasuredRegion(torch.device("cuda", 0)) as region:
        region.resume()
        time.sleep(seconds)
        region.pause()
        return region.stop().gpu


def test_even_the_shortest_region_has_a_sample(monkeypatch):
    found = sampled(monkeypatch, h100())
    assert found.samples >= 1
    assert found.sm_clock_mhz.median == 1980
    assert found.temperature_celsius.median == 61
    assert found.largest_used_bytes == 4 * MIB


def test_a_longer_region_is_sampled_by_a_thread(monkeypatch):
    assert sampled(monkeypatch, h100(), seconds=0.35).samples >= 3


def test_what_the_driver_does_not_tell_is_null_and_not_an_error(monkeypatch):
    monkeypatch.setattr(gpus, "MIN_ENERGY_REGION_SECONDS", 0.0)
    found = sampled(monkeypatch, vgpu())
    assert (found.sm_clock_mhz, found.temperature_celsius, found.power_watts) == (None, None, None)
    assert (found.uncorrected_ecc_errors, found.energy_joules, found.clock_limits) == (None, None, {})
    assert found.largest_used_bytes == 1300 * MIB


@pytest.mark.parametrize("kind", fake_nvml.KINDS.values(), ids=fake_nvml.KINDS)
def test_every_kind_of_gpu_can_be_sampled(monkeypatch, kind):
    found = sampled(monkeypatch, kind())
    assert found.samples >= 1
    assert (found.sm_clock_mhz is None) == (kind is vgpu)
    assert (found.largest_used_bytes is None) == (kind is fake_nvml.unified)


@pytest.mark.parametrize("name", gpus.CLOCK_LIMIT_QUESTIONS)
def test_reasons_for_lowered_clocks_are_named(monkeypatch, name):
    gpu = h100()
    del gpu.answers["nvmlDeviceGetCurrentClocksEventReasons"]
    gpu.answers[name] = 0x4 | 0x40
    assert sampled(monkeypatch, gpu).clock_limits == {"power_cap": 1.0, "hardware_thermal_slowdown": 1.0}


def test_power_is_told_once_its_second_lies_within_the_region(monkeypatch):
    assert sampled(monkeypatch, h100()).power_watts is None
    monkeypatch.setattr(gpus, "POWER_MEAN_SECONDS", 3600.0)
    clocks, watts = iter(range(1000)), iter([650_000] + [900_000] * 999)

    def clock(kind):  # the first question of each sample
        if next(clocks) == 1:
            gpus.POWER_MEAN_SECONDS = 0.0
        return 1980

    found = sampled(
        monkeypatch, h100(nvmlDeviceGetClockInfo=clock, nvmlDeviceGetPowerUsage=watts.__next__), seconds=0.35
    )
    assert found.power_watts.smallest == 650  # the first of those that count
    assert 1000 - sum(1 for _ in watts) == found.samples - 1


def test_energy_is_told_of_a_region_long_enough_only(monkeypatch):
    def counted():
        return h100(nvmlDeviceGetTotalEnergyConsumption=iter([1_000_000, 1_700_000]).__next__)

    assert sampled(monkeypatch, counted()).energy_joules is None
    monkeypatch.setattr(gpus, "MIN_ENERGY_REGION_SECONDS", 0.0)
    assert sampled(monkeypatch, counted()).energy_joules == 700


def test_an_instance_has_its_memory_and_the_card_s_clock_heat_and_errors(monkeypatch):
    monkeypatch.setattr(gpus, "MIN_ENERGY_REGION_SECONDS", 0.0)
    errors = iter([2, 5])
    card = a100_cut(
        places=(2,), nvmlDeviceGetCurrentClocksEventReasons=0x20, nvmlDeviceGetTotalEccErrors=lambda *_: next(errors)
    )
    found = sampled(monkeypatch, card)
    assert (found.sm_clock_mhz.median, found.temperature_celsius.median) == (1980, 61)
    assert found.clock_limits == {"thermal_slowdown": 1.0}
    assert found.uncorrected_ecc_errors == 3
    assert found.largest_used_bytes == 12 * MIB
    assert found.energy_joules is None  # others on the card use it as well


def test_a_quiet_trial_is_not_disturbed():
    assert disturbances(trial_on(), [trial_on(), trial_on()], cores=2) == []
    on_gpu = telemetry(gpu_telemetry(clock_limits={"power_cap": 0.9}))
    assert disturbances(trial_on(telemetry=on_gpu), [trial_on(telemetry=on_gpu)]) == []


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (telemetry(foreign_cores=0.5), "other programs kept 0.5 of 2 cores busy"),
        (telemetry(cpu_seconds_per_second=1.0), "CPU seconds per second"),
        (telemetry(gpu_telemetry(sm_clock_mhz=spread(1200))), "the SM clock was 1200 MHz, its leg's usually 1980 MHz"),
        (telemetry(gpu_telemetry(clock_limits={"thermal_slowdown": 0.1})), "reduced its clock: thermal slowdown"),
        (telemetry(gpu_telemetry(uncorrected_ecc_errors=1)), "1 uncorrected ECC errors"),
        (telemetry(gpu_telemetry(foreign_processes=["process 7"])), "process 7, was on the GPU"),
    ],
)
def test_what_spoils_a_trial_is_said(seen, reason):
    usual = telemetry(gpu_telemetry() if seen.gpu else None)
    (found,) = disturbances(trial_on(telemetry=seen), [trial_on(telemetry=usual, block=1)] * 2, cores=2)
    assert reason in found


@pytest.mark.parametrize(("slowed", "spoiled"), [(1, False), (14, False), (15, True), (300, True)])
def test_a_slowdown_spoils_a_trial_from_a_twentieth_of_its_samples_on(slowed, spoiled):
    seen = telemetry(gpu_telemetry(samples=300, clock_limits={"hardware_slowdown": slowed / 300}))
    assert bool(disturbances(trial_on(telemetry=seen), [])) is spoiled


def clocked(*clocks):
    """Trials of a leg whose GPU ran at these clocks, one to a block."""
    return [
        trial_on(block=block, telemetry=telemetry(gpu_telemetry(sm_clock_mhz=spread(clock))))
        for block, clock in enumerate(clocks)
    ]


@pytest.mark.parametrize("clocks", [(1590, 900), (1590, 900, 900), (1590, 900, 900, 900)])
def test_a_cold_first_trial_makes_none_of_the_next_look_slow(clocks):
    trials = clocked(*clocks)
    for count in range(1, len(trials)):  # as they end
        assert disturbances(trials[count], trials[:count]) == []
    for index, one in enumerate(trials):  # and once more, beside all the others
        assert disturbances(one, trials[:index] + trials[index + 1 :]) == []


def test_a_warm_leg_s_slow_trial_is_seen_after_a_cold_first():
    *before, slow = clocked(1590, 1400, 1400, 900)
    (found,) = disturbances(slow, before)
    assert "the SM clock was 900 MHz, its leg's usually 1400 MHz" in found


def test_a_first_trial_is_judged_beside_the_warm_ones():
    first, *others = clocked(900, 1400, 1400)
    (found,) = disturbances(first, others)
    assert "the SM clock was 900 MHz" in found


def test_a_machine_that_multiplies_more_slowly_than_usual_spoils_a_trial_on_the_cpu():
    (found,) = disturbances(trial_on(ceiling_flops_per_second=0.7e9), [trial_on()], cores=2)
    assert "ran at 0.7 GFLOP/s" in found


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
    before, started = host_counters.HostCounters.now(), time.monotonic()
    while time.monotonic() - started < 2 * host_counters.MIN_REGION_SECONDS:
        pass
    return host_counters.host_telemetry([host_counters.HostUse(before, host_counters.HostCounters.now())])


def test_another_program_s_work_is_seen(other_program):
    found = over_a_second()
    assert found.foreign_cores > 0.3
    assert found.cpu_seconds_per_second > 0


def test_work_of_one_s_own_children_is_not_taken_for_another_s():
    own = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before, ours_before, started = host_counters.HostCounters.now(), time.process_time(), time.monotonic()
        childs_before = sum(psutil.Process(own.pid).cpu_times()[:2])
        over_a_second()
        while sum(psutil.Process(own.pid).cpu_times()[:2]) - childs_before < 0.3:  # others may be at work
            time.sleep(0.05)
        childs = sum(psutil.Process(own.pid).cpu_times()[:2]) - childs_before
        found = host_counters.host_telemetry([host_counters.HostUse(before, host_counters.HostCounters.now())])
        ours, seconds = time.process_time() - ours_before, time.monotonic() - started
    finally:
        own.kill()
        own.wait()
    assert found.cpu_seconds_per_second * seconds > 0.9 * (ours + childs) > 0.9 * ours + 0.1


#: Keeps the first core that it may use busy for twenty seconds, from the moment when it says so.
COMPETITOR = """
import os, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(flush=True)
until = time.time() + 20
while time.time() < until:
    pass
"""


def on_the_first_core():
    """Counters over half a second in which the calling thread computes on that core, and its process waits for it."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # of this thread only
    before, started = host_counters.HostCounters.now(), time.monotonic()
    while time.monotonic() - started < host_counters.MIN_REGION_SECONDS:
        pass
    return host_counters.HostUse(before, host_counters.HostCounters.now())


@pytest.mark.skipif(host_counters.HostCounters.now().thread_run_delay_seconds is None, reason="no account is kept")
def test_a_thread_is_seen_to_wait_for_a_core_that_another_program_uses():
    with subprocess.Popen([sys.executable, "-c", COMPETITOR], stdout=subprocess.PIPE) as competitor:
        competitor.stdout.readline()
        with ThreadPoolExecutor(1) as thread:
            found = thread.submit(on_the_first_core).result()
        competitor.kill()
    assert found.run_delay_seconds > 0.1 * found.seconds
    assert host_counters.host_telemetry([found, found]).run_delay_seconds == 2 * found.run_delay_seconds


CpuTimes = namedtuple("CpuTimes", ["user", "idle", "steal"])


def test_what_a_hypervisor_took_is_known_apart(monkeypatch):
    times = iter([CpuTimes(1.0, 5.0, 2.0), CpuTimes(1.5, 6.0, 2.75)])
    monkeypatch.setattr(host_counters.psutil, "cpu_times", lambda: next(times))
    use = host_counters.HostUse(host_counters.HostCounters.now(), host_counters.HostCounters.now())
    assert use.stolen_cpu_seconds == pytest.approx(0.75)


@pytest.fixture
def counters_of(monkeypatch, tmp_path):
    """Reads counters while a process has threads with such accounts: time on a core, time of waiting, slices."""

    def read(accounts):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for thread, account in accounts.items():
            (folder / str(thread)).mkdir(parents=True)
            if account is not None:
                (folder / str(thread) / "schedstat").write_text(account + "\n")
        monkeypatch.setattr(host_counters, "THREADS", folder)
        return host_counters.HostCounters.now()

    return read


def test_the_thread_that_waited_longest_counts_whenever_threads_begin_and_end(counters_of):
    """Thread 1 stays, 2 ends, 3 begins, 4 ends while it is looked at, and 5 is another one than before."""
    before = counters_of({1: "9 1000000000 5", 2: "9 7000000000 5", 5: "9 8000000000 5"})
    after = counters_of({1: "9 1500000000 5", 3: "9 250000000 5", 4: None, 5: "9 100000000 5"})
    assert host_counters.HostUse(before, after).run_delay_seconds == pytest.approx(0.5)


@pytest.mark.parametrize(
    "accounts", [{}, {1: None}, {1: "0 0 0"}, {1: "7"}], ids=["no /proc", "no file", "zeros", "another file"]
)
def test_where_the_kernel_keeps_no_account_waits_are_unknown(counters_of, accounts):
    use = host_counters.HostUse(counters_of(accounts), counters_of(accounts))
    assert use.run_delay_seconds is None
    assert host_counters.host_telemetry([use]).run_delay_seconds is None


def processes_then_none(*pids):
    """A GPU that is busy for as many looks as there are lists."""
    looks = iter([[process(pid)] for pid in pids])
    return lambda: next(looks, [])


@pytest.fixture
def driver(monkeypatch):
    def install(processes, gpu=h100, **changes):
        return plant(monkeypatch, gpu(nvmlDeviceGetComputeRunningProcesses=processes, **changes))

    monkeypatch.setattr(other_processes, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(other_processes, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(other_processes, "MAX_WAIT_SECONDS", 0.0)
    return install


async def noted(device="cuda:0"):
    """What a trial's result says of others, where nothing changes on the device."""
    watch = OtherProcesses()
    before = await watch.wait_until_free(device)
    result = with_usage(trial_on(telemetry=telemetry(gpu_telemetry())), before, await watch.usage_after(device))
    return result.telemetry.gpu


@pytest.mark.anyio
async def test_a_trial_waits_until_it_is_alone_on_the_gpu(driver, monkeypatch):
    driver(processes_then_none(7, 7, 7))
    monkeypatch.setattr(other_processes, "MAX_WAIT_SECONDS", 60.0)
    seen = await OtherProcesses().wait_until_free("cuda:0")
    assert seen.processes == []
    assert seen.used_bytes == 4 * MIB


@pytest.mark.anyio
async def test_nvml_is_opened_once_for_all_looks_and_closed_after_them(driver, monkeypatch):
    library = driver(processes_then_none(*range(7, 17)))
    monkeypatch.setattr(other_processes, "MAX_WAIT_SECONDS", 60.0)
    await OtherProcesses().wait_until_free("cuda:0")
    assert (library.times_opened, library.open) == (1, 0)


@pytest.mark.anyio
async def test_a_wait_that_is_given_up_leaves_no_look_behind(driver, monkeypatch):
    library = driver([process(7)])
    monkeypatch.setattr(other_processes, "MAX_WAIT_SECONDS", 3600.0)
    with anyio.move_on_after(0.05):
        await OtherProcesses().wait_until_free("cuda:0")
    with anyio.fail_after(60):
        while library.open:
            await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_a_driver_that_does_not_answer_holds_nobody_up(driver, monkeypatch):
    answered = threading.Event()
    driver(lambda: answered.wait(60) and [])
    monkeypatch.setattr(other_processes, "ANSWER_SECONDS", 0.05)
    assert await OtherProcesses().wait_until_free("cuda:0") is None
    answered.set()


@pytest.mark.anyio
async def test_it_waits_in_vain_once_and_then_says_who_is_there(driver, monkeypatch):
    driver([process(7)])
    monkeypatch.setattr(other_processes, "MAX_WAIT_SECONDS", 0.05)
    watch = OtherProcesses()
    before = await watch.wait_until_free("cuda:0")
    monkeypatch.setattr(other_processes, "MAX_WAIT_SECONDS", 3600.0)
    assert await watch.wait_until_free("cuda:0") == before
    result = with_usage(trial_on(telemetry=telemetry(gpu_telemetry())), before, await watch.usage_after("cuda:0"))
    assert result.telemetry.gpu.foreign_processes == ["process 7, 1024 MiB"]
    assert result.telemetry.gpu.held_before_bytes == 4 * MIB


@pytest.mark.anyio
async def test_a_process_that_came_during_the_trial_is_noted(driver):
    driver([])
    watch = OtherProcesses()
    before = await watch.wait_until_free("cuda:0")
    driver([process(8, used_bytes=None)])
    result = with_usage(trial_on(telemetry=telemetry(gpu_telemetry())), before, await watch.usage_after("cuda:0"))
    assert result.telemetry.gpu.foreign_processes == ["process 8"]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", fake_nvml.KINDS.values(), ids=fake_nvml.KINDS)
async def test_nobody_is_foreign_on_an_idle_gpu_of_any_kind(driver, monkeypatch, kind):
    plant(monkeypatch, kind())
    assert (await noted()).foreign_processes == []


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [h100, t4])
async def test_in_a_container_the_host_s_numbers_name_who_is_foreign(driver, kind):
    driver([process(FOREIGN_ON_THE_HOST)], kind)
    assert (await noted()).foreign_processes == [f"process {FOREIGN_ON_THE_HOST}, 1024 MiB"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "used_bytes"), [(h100, 520 * MIB), (t4, 103 * MIB)], ids=["context on an H100", "context on a T4"]
)
async def test_in_a_container_that_is_told_no_names_memory_in_use_is_foreign_work(driver, kind, used_bytes):
    driver([], kind, nvmlDeviceGetMemoryInfo=memory(used_bytes))
    named = f"a process that NVML does not list, {used_bytes // MIB} MiB"
    assert (await noted()).foreign_processes == [named]


@pytest.mark.anyio
async def test_the_trial_itself_is_not_foreign_while_the_driver_clears_up_after_it(driver, monkeypatch):
    driver([])
    watch = OtherProcesses()
    before = await watch.wait_until_free("cuda:0")
    monkeypatch.setattr(other_processes, "GRACE_SECONDS", 60.0)
    held = itertools.chain([70 * GIB, 500 * MIB], itertools.repeat(4 * MIB))
    driver(processes_then_none(TRIAL_ON_THE_HOST), nvmlDeviceGetMemoryInfo=memory(held))
    result = with_usage(trial_on(telemetry=telemetry(gpu_telemetry())), before, await watch.usage_after("cuda:0"))
    assert result.telemetry.gpu.foreign_processes == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("used_bytes", "foreign"), [(900 * MIB, []), (3 * GIB, ["a process that NVML does not list, 3072 MiB"])]
)
async def test_a_desktop_on_the_gpu_is_no_foreign_work(driver, used_bytes, foreign):
    driver([], nvmlDeviceGetDisplayActive=1, nvmlDeviceGetMemoryInfo=memory(used_bytes))
    assert (await noted()).foreign_processes == foreign


@pytest.mark.anyio
async def test_what_works_on_another_instance_of_the_card_is_not_foreign(monkeypatch, driver):
    card = a100_cut()
    card.instances[3].answers["nvmlDeviceGetComputeRunningProcesses"] = [process(7)]
    plant(monkeypatch, card)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", fake_nvml.INSTANCE_UUIDS[0])
    assert (await noted()).foreign_processes == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", fake_nvml.INSTANCE_UUIDS[1])
    assert (await noted()).foreign_processes == ["process 7, 1024 MiB"]


@pytest.mark.anyio
async def test_where_nvml_does_not_tell_nothing_is_claimed(driver):
    driver([])
    watch = OtherProcesses()
    before = await watch.wait_until_free("cuda:0")
    refused = pynvml.NVMLError_NoPermission()
    driver(refused, nvmlDeviceGetMemoryInfo=refused)
    result = with_usage(trial_on(telemetry=telemetry(gpu_telemetry())), before, await watch.usage_after("cuda:0"))
    assert result.telemetry.gpu.foreign_processes is None


def test_a_region_that_breaks_off_leaves_no_thread(monkeypatch):
    plant(monkeypatch, h100())
    with pytest.raises(RuntimeError), MeasuredRegion(torch.device("cuda", 0)) as region:
        region.resume()
        raise RuntimeError
    assert not [thread for thread in threading.enumerate() if thread.name == "sample the GPU"]


@pytest.mark.anyio
async def test_on_a_cpu_nobody_is_asked(driver):
    driver(lambda: pytest.fail("asked"))
    watch = OtherProcesses()
    assert await watch.wait_until_free("cpu") is None
    result = trial_on()
    assert with_usage(result, None, await watch.usage_after("cpu")) is result
