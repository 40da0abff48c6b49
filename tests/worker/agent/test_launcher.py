"""Trial processes: fresh, bounded, heard to the end, and never left behind."""

import os
import signal
import subprocess
import sys
import textwrap

import anyio
import pytest

from testing.processes import children, fork_servers, gone
from tests.factories import request
from tests.worker.agent import explaining
from tests.worker.agent.sick_ceilings import crashing_ceilings, endless_ceilings
from worker.agent import child_process as launching
from worker.agent import launcher as launcher_module
from worker.agent.child_process import Killed
from worker.agent.launcher import TrialLauncher
from worker.messages import TrialSpec
from worker.trial import process as trial_process
from worker.trial.task import UNFINISHED

pytestmark = pytest.mark.anyio

LONG = {"batch_size": 8, "steps": 10_000, "warmup_steps": 2}
PATIENCE_SECONDS = 30


def spec(training=None, device="cpu", **model):
    asked = request(**({"training": training} if training else {}))
    return TrialSpec(
        device=device,
        precision="fp32",
        block=0,
        position=0,
        model=asked.model.model_copy(update=model),
        training=asked.config.training,
    )


@pytest.fixture(scope="module")
async def launcher():
    made = TrialLauncher()
    await made.warm_up()
    yield made
    await made.close()
    assert fork_servers() == []


def trial_processes(pid=None):
    """Trials are the children of the forkserver, which is a child of the worker."""
    return [child for server in fork_servers(pid) for child in children(server) if child.is_running()]


async def until(condition):
    with anyio.fail_after(PATIENCE_SECONDS):
        while not condition():
            await anyio.sleep(0.02)


async def test_a_trial_gives_its_result_and_ends(launcher):
    outcome, logs = await launcher.run(spec(), 60, lambda step: None)
    assert len(outcome.step_seconds) == 3
    assert logs == ""
    assert trial_processes() == []


@pytest.mark.parametrize(("explained", "kept"), [(True, [explaining.TRACE]), (False, [])])
async def test_the_trace_of_an_explained_trial_comes_with_its_result(launcher, monkeypatch, explained, kept):
    monkeypatch.setattr(launching.trial_process, "main", explaining.main)
    traces = []
    outcome, _ = await launcher.run(
        spec().model_copy(update={"explained": explained}), 60, lambda step: None, traces.append
    )
    assert len(outcome.step_seconds) == 3
    assert traces == kept


async def test_steps_are_told_while_the_trial_runs(launcher):
    told = []
    with anyio.move_on_after(PATIENCE_SECONDS) as scope:

        def after_step(step):
            told.append(step)
            scope.cancel()

        await launcher.run(spec(LONG, hidden_size=512), 60, after_step)
    assert told
    assert trial_processes() == []


async def test_a_cuda_trial_without_cuda_says_so_and_leaves_its_traceback(launcher):
    outcome, logs = await launcher.run(spec(device="cuda:0"), 60, lambda step: None)
    assert outcome.code == "cuda_unavailable"
    assert "TrialFailed" in logs


@pytest.mark.parametrize("main", [crashing_ceilings, endless_ceilings])
async def test_precisions_are_known_where_the_measurement_of_the_ceilings_crashes_or_never_ends(
    launcher, monkeypatch, main
):
    monkeypatch.setattr(trial_process, "main", main)
    support = await launcher.measure_support("cpu", 5)
    assert [one.precision for one in support.precisions] == ["fp32"]
    assert (support.ceilings, support.ceilings_missing) == (None, UNFINISHED)
    assert trial_processes() == []


async def test_a_trial_past_its_deadline_is_ended(launcher):
    outcome, _ = await launcher.run(spec(LONG, hidden_size=512), 1, lambda step: None)
    assert outcome.code == "timeout"
    assert trial_processes() == []


async def test_cancelling_ends_the_trial(launcher):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(launcher.run, spec(LONG, hidden_size=512), 60, lambda step: None)
        await until(trial_processes)
        tasks.cancel_scope.cancel()
    assert trial_processes() == []


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 4, 8])
async def test_cancelling_while_the_trial_starts_leaves_none(launcher, milliseconds):
    with anyio.move_on_after(milliseconds / 1000):
        await launcher.run(spec(LONG, hidden_size=512), 60, lambda step: None)
    assert trial_processes() == []


async def test_a_trial_killed_once_is_repeated_and_twice_is_a_failure(launcher):
    outcomes = []

    async def run():
        outcomes.append(await launcher.run(spec(LONG, hidden_size=512), 60, lambda step: None))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        killed = set()
        while len(killed) < 2:
            await until(lambda: [child for child in trial_processes() if child.pid not in killed])
            (child,) = [child for child in trial_processes() if child.pid not in killed]
            await until(lambda child=child: os.getpgid(child.pid) == child.pid)
            child.send_signal(signal.SIGSEGV)
            killed.add(child.pid)
    ((failure, logs),) = outcomes
    assert failure.code == "internal"
    assert "SIGSEGV" in failure.detail
    assert "Fatal Python error: Segmentation fault" in logs


async def test_a_forkserver_that_hangs_as_a_trial_starts_is_replaced(launcher, monkeypatch):
    patience_seconds, kill = launching.STARTING_SECONDS, launching.kill_fork_server

    def kill_and_be_patient():  # with the next one, which loads torch
        monkeypatch.setattr(launching, "STARTING_SECONDS", patience_seconds)
        kill()

    monkeypatch.setattr(launching, "STARTING_SECONDS", 1.0)
    monkeypatch.setattr(launching, "kill_fork_server", kill_and_be_patient)
    (server,) = fork_servers()
    server.suspend()
    outcome, logs = await launcher.run(spec(), 60, lambda step: None)
    assert not server.is_running()
    assert len(outcome.step_seconds) == 3
    assert "was killed by SIGKILL" in logs


async def test_what_a_killed_compiler_left_is_not_used_again(launcher, monkeypatch):
    tried = []

    class Dies:
        """A child process that is killed at once."""

        def __init__(self, context, task, after_step, lock):
            tried.append(task.compile_cache)

        async def run(self, deadline_seconds):
            return Killed(signal.SIGKILL, oom_killed=False)

        def standard_error(self):
            return ""

    monkeypatch.setattr(launcher_module, "ChildProcess", Dies)
    failure, _ = await launcher.run(spec().model_copy(update={"compile_cache": "half"}), 60, lambda step: None)
    assert failure.code == "internal"
    assert tried == ["half", None]


async def test_a_forkserver_that_hangs_at_the_end_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("worker.agent.child_process.KILL_WAIT_SECONDS", 1.0)
    made = TrialLauncher()
    await made.warm_up()
    (server,) = fork_servers()
    server.suspend()
    await made.close()
    assert not server.is_running()


async def test_a_model_beyond_the_machine_s_memory_is_out_of_memory(launcher):
    outcome, _ = await launcher.run(spec(hidden_size=65_536, num_layers=400), 60, lambda step: None)
    assert outcome.code == "out_of_memory"
    assert "MiB are available" in outcome.detail


async def test_a_trial_dies_with_its_worker():
    """The worker is killed with -9 in the middle of a step: nothing it could do about its trial any more."""
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""
                import anyio
                from tests.worker.agent.test_launcher import LONG, TrialLauncher, spec
                if __name__ == "__main__":
                    long = spec(LONG, hidden_size=4096, num_layers=4)
                    anyio.run(TrialLauncher().run, long, 600, lambda step: print(step, flush=True))
            """),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},  # noqa: PTH109
    )
    with worker:
        worker.stdout.readline()
        (orphan,) = trial_processes(worker.pid)
        worker.kill()
    await until(lambda: gone([orphan]))
