"""One worker to a GPU, on the whole node; NVML is faked."""

import os
import signal
import subprocess
import sys
import textwrap

import anyio
import psutil
import pytest
from typer.testing import CliRunner

from app.observability.process import WRONG_SETTINGS
from halftime.contract.resources.worker import WorkerDevice
from tests.worker.agent.test_launcher import PATIENCE_SECONDS, trial_processes
from tests.worker.device import fake_nvml
from worker import __main__ as command
from worker.device import detection
from worker.device.lock import DeviceInUse, locked

GPU = WorkerDevice(name="cuda:0", kind="cuda", gpu="NVIDIA H200", memory_bytes=2**37)
CPU = WorkerDevice(name="cpu", kind="cpu", gpu=None, memory_bytes=2**34)


@pytest.fixture(autouse=True)
def driver(monkeypatch):
    fake_nvml.plant(monkeypatch, *[fake_nvml.h100(nvmlDeviceGetUUID=f"GPU-{index}") for index in range(2)])


def test_a_gpu_has_one_owner_until_that_one_is_done(tmp_path):
    with locked(GPU, tmp_path / "locks"):
        with pytest.raises(DeviceInUse, match="NVIDIA H200"), locked(GPU, tmp_path / "locks"):
            pass
        with locked(GPU.model_copy(update={"name": "cuda:1"}), tmp_path / "locks"):
            pass
    with locked(GPU, tmp_path / "locks"):
        pass


@pytest.mark.parametrize("kind", fake_nvml.KINDS.values(), ids=fake_nvml.KINDS)
def test_a_gpu_of_any_kind_has_one_owner_by_whichever_name(tmp_path, monkeypatch, kind):
    gpu = kind()
    uuid = next(iter(gpu.instances.values()), gpu).answers["nvmlDeviceGetUUID"]
    fake_nvml.plant(monkeypatch, gpu)
    with locked(GPU, tmp_path):
        assert [path.stem for path in tmp_path.iterdir()] == [uuid]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", uuid[:12])
        with pytest.raises(DeviceInUse), locked(GPU, tmp_path):
            pass


def test_the_instances_of_one_card_have_an_owner_each(tmp_path, monkeypatch):
    fake_nvml.plant(monkeypatch, fake_nvml.a100_cut())
    first, second = fake_nvml.INSTANCE_UUIDS
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", first)
    with locked(GPU, tmp_path):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", second)
        with locked(GPU, tmp_path):
            assert len(list(tmp_path.iterdir())) == 2


def test_workers_of_every_user_can_share_the_folder(tmp_path):
    mask = os.umask(0o077)
    try:
        with locked(GPU, tmp_path / "locks"):
            assert (tmp_path / "locks").stat().st_mode & 0o7777 == 0o1777
            assert (tmp_path / "locks" / "GPU-0.lock").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(mask)


def test_a_cpu_may_be_shared(tmp_path):
    with locked(CPU, tmp_path), locked(CPU, tmp_path) as lock:
        assert lock is None


def test_a_folder_that_cannot_be_used_is_said_with_the_remedy(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="HALFTIME_LOCK_DIR"), locked(GPU, tmp_path / "file" / "locks"):
        pass


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a worker on the GPU, as far as its lock."""
    monkeypatch.setattr(detection, "detect", lambda choice: GPU)
    monkeypatch.setattr(command, "configure_logs", lambda log_format: None)
    monkeypatch.setattr(command, "end_well_on_sigterm", lambda: None)

    def invoke(lock_dir):
        environment = {"HALFTIME_LOCK_DIR": str(lock_dir)}
        return CliRunner().invoke(command.cli, ["run", "--device", "cuda:0"], env=environment)

    return invoke


def test_the_second_worker_ends_with_a_code_of_its_own(tmp_path, start):
    with locked(GPU, tmp_path):
        result = start(tmp_path)
    assert result.exit_code == os.EX_TEMPFAIL
    assert "is in use by another worker" in result.stderr


def test_a_worker_that_is_given_no_usable_folder_has_wrong_settings(tmp_path, start):
    (tmp_path / "file").touch()
    result = start(tmp_path / "file" / "locks")
    assert result.exit_code == WRONG_SETTINGS
    assert "HALFTIME_LOCK_DIR" in result.stderr


async def until(condition):
    with anyio.fail_after(PATIENCE_SECONDS):
        while not condition():
            await anyio.sleep(0.02)


@pytest.mark.anyio
async def test_a_trial_that_outlives_its_worker_still_holds_the_gpu(tmp_path):
    def free():
        try:
            with locked(GPU, tmp_path):
                return True
        except DeviceInUse:
            return False

    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(f"""
                from pathlib import Path
                import anyio
                from tests.worker.agent.test_launcher import LONG, TrialLauncher, spec
                from worker.device import nvml
                from tests.worker.device.test_lock import GPU, locked
                if __name__ == "__main__":
                    nvml.uuid_of = lambda name: "GPU-0"
                    with locked(GPU, Path("{tmp_path}")) as lock:
                        long = spec(LONG, hidden_size=512)
                        anyio.run(TrialLauncher(lock).run, long, 600, lambda step: print(step, flush=True))
            """),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},  # noqa: PTH109
    )
    with worker:
        worker.stdout.readline()
        assert not free()
        (trial,) = trial_processes(worker.pid)
        trial.send_signal(signal.SIGSTOP)  # it will not notice that its worker is gone
        worker.kill()
    await until(lambda: not psutil.pid_exists(worker.pid))
    assert not free()
    trial.kill()
    await until(free)
