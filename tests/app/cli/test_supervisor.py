"""Children of `up` and `worker`: what is started, when it is started again, and how it ends."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from app.cli.commands import serving

PATIENCE_SECONDS = 60


@pytest.fixture
def supervised(tmp_path):
    """Starts a supervisor of one child, a Python program."""
    started = []

    def start(program):
        child = tmp_path / "child.py"
        child.write_text(textwrap.dedent(program))
        supervisor = (
            "import asyncio, sys; from app.cli.supervisor import Child, supervise; "
            f"asyncio.run(supervise([Child('child', [sys.executable, {str(child)!r}])]))"
        )
        process = subprocess.Popen([sys.executable, "-c", supervisor], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(PATIENCE_SECONDS)
        process.stdout.close()


def line_with(process, words):
    for line in process.stdout:
        if words in line:
            return line
    pytest.fail(f"no line with {words!r}")
    return None


def test_a_child_that_dies_is_started_again(supervised):
    process = supervised("raise SystemExit(1)")
    line_with(process, "exited")
    line_with(process, "started")


def test_a_child_whose_device_is_taken_is_left_alone_for_long(supervised):
    process = supervised(f"raise SystemExit({os.EX_TEMPFAIL})")
    assert "30.0" in line_with(process, "exited")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_SECONDS) == 0


def test_a_second_signal_reaches_the_children(supervised):
    process = supervised("""
        import signal

        def told(*_):
            signal.signal(signal.SIGTERM, told_again)
            print("told once", flush=True)

        def told_again(*_):
            print("told twice", flush=True)
            raise SystemExit

        signal.signal(signal.SIGTERM, told)
        print("here", flush=True)
        while True:
            signal.pause()
    """)
    line_with(process, "here")
    process.send_signal(signal.SIGTERM)
    line_with(process, "told once")
    process.send_signal(signal.SIGTERM)
    line_with(process, "told twice")
    assert process.wait(PATIENCE_SECONDS) == 0


@pytest.fixture
def children(monkeypatch):
    """The names of those that a command would run, on a machine with two GPUs."""
    kept = []

    async def supervise(children):
        kept.extend(child.name for child in children)

    monkeypatch.setattr(serving, "supervise", supervise)
    monkeypatch.setattr(serving, "configure_logs", lambda log_format: None)
    monkeypatch.setattr(serving, "refuse_wrong_database", lambda settings: None)
    monkeypatch.setattr(serving, "end_well_on_sigterm", lambda: None)
    monkeypatch.setattr(serving, "list_devices", lambda: ["cuda:0", "cuda:1"])
    return kept


def test_a_worker_without_arguments_is_one_for_every_gpu(children):
    serving.worker(device=None, worker_id=None)
    assert children == ["worker cuda:0", "worker cuda:1"]


def test_up_runs_the_api_and_a_worker_for_every_gpu(children, monkeypatch):
    monkeypatch.setattr(serving, "refuse_open_address", lambda settings: None)
    serving.up(device=None)
    serving.up(device="cuda:1")
    assert children == ["serve", "worker cuda:0", "worker cuda:1", "serve", "worker cuda:1"]


def test_devices_that_do_not_answer_are_not_waited_for_without_end(monkeypatch, capsys):
    monkeypatch.setattr(serving, "DEVICES_SECONDS", 0.05)
    with pytest.raises(SystemExit) as ended:
        serving.list_devices()
    assert ended.value.code == 1
    assert "nvidia-smi" in capsys.readouterr().err


def test_the_devices_are_asked_of_the_worker(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert serving.list_devices() == ["cpu"]
