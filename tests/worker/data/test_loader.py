"""A real DataLoader: the same batches in the same order, the wait for them told, and no process left behind."""

import signal
import subprocess
import sys
import time

import anyio
import psutil
import pytest
import torch

from halftime.contract.request.data import LoaderConfig, SyntheticData
from halftime.contract.request.training import TrainingConfig
from halftime.plugin import Vectors
from testing.processes import children, gone
from tests.factories import comparison, request, trial
from tests.worker.agent.test_launcher import LONG, spec, trial_processes, until
from worker.agent.launcher import TrialLauncher
from worker.comparison.comparison_run import paired
from worker.data import make_data
from worker.data.feed import DrawnBatches, LoaderFeed
from worker.data.synthetic.vectors import VectorSource
from worker.device.host_counters import HostCounters
from worker.messages import TrialSpec
from worker.report.build import make_report
from worker.tasks import as_task
from worker.trial.run import run_trial

pytestmark = pytest.mark.anyio

SHAPE = Vectors(8, 4)
TRAINING = TrainingConfig(batch_size=8, steps=5, warmup_steps=2)


def loaded(workers, **training):
    settings = TrainingConfig(**{"batch_size": 8, "steps": 5, "warmup_steps": 2} | training)
    return make_data(as_task(SHAPE), SyntheticData(loader=LoaderConfig(workers=workers)), settings, 3)


def trial_spec(workers=0, precision="fp32", training=None, **model):
    data = SyntheticData(loader=LoaderConfig(workers=workers))
    return spec(training, **model).model_copy(update={"data": data, "precision": precision})


def handed_out(data):
    feed = data.feed()
    batches = [feed.next() for _ in range(len(data.training))]
    feed.close()
    return batches, feed


def test_a_loader_hands_out_the_batches_of_the_steps_in_order():
    data = loaded(0)
    batches, _ = handed_out(data)
    assert len(batches) == data.facts.distinct_batches == TRAINING.steps
    for index, batch in enumerate(batches):
        for ours, theirs in zip(batch, data.training[index], strict=True):
            assert torch.equal(ours, theirs)
    assert not torch.equal(batches[0][0], batches[1][0])


def test_the_hash_is_of_what_was_handed_out():
    shuffled = loaded(0)
    _, first = handed_out(loaded(0))
    _, again = handed_out(loaded(0))

    class Backwards(DrawnBatches):
        def draw(self, index):
            return super().draw(self.steps - 1 - index)

    batches = shuffled.training
    feed = LoaderFeed(Backwards(batches.source, 8, 5, 3), LoaderConfig(workers=0))
    for _ in range(5):
        feed.next()
    at_hand = shuffled.sha256()
    assert first.sha256(at_hand) == again.sha256(at_hand) != feed.sha256(at_hand)
    assert first.sha256(at_hand) != at_hand


class SlowSource(VectorSource):
    def sample(self, part, count, generator):
        if part == "training":
            time.sleep(0.05)
        return super().sample(part, count, generator)


def test_the_wait_is_that_of_the_measured_steps():
    source = SlowSource(8, 4, torch.Generator())
    feed = LoaderFeed(DrawnBatches(source, 8, 5, 0), LoaderConfig(workers=0))
    for _ in range(5):
        feed.next()
    assert feed.waited_seconds(0) >= 5 * 0.05
    assert feed.waited_seconds(3) >= 2 * 0.05
    assert feed.waited_seconds(5) == 0


def test_a_loader_leaves_the_model_s_random_numbers_alone():
    torch.manual_seed(0)
    handed_out(loaded(0))
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))


def test_a_trial_with_a_loader_trains_on_the_same_data_in_every_leg():
    specs = [trial_spec(precision=precision).model_copy(update={"examined": True}) for precision in ("fp32", "bf16")]
    results = [run_trial(spec, lambda step: None) for spec in specs]
    assert len({result.attestation.data_sha256 for result in results}) == 1
    for result in results:
        assert 0 < result.data_wait_seconds < result.measured_wall_seconds
        assert result.numerics is not None


def test_without_a_loader_there_is_nothing_to_wait_for():
    assert run_trial(spec(), lambda step: None).data_wait_seconds is None


def report_of(**of_trial):
    measured = comparison(request())
    measured.blocks = 2
    for leg in measured.legs:
        for block in range(2):
            one = TrialSpec(
                device="cpu",
                precision=leg.precision,
                block=block,
                position=0,
                model=measured.request.model,
                training=measured.request.config.training,
            )
            leg.trials.append(trial(one, **of_trial))
    assert paired(*measured.legs[:2])
    return make_report("1", measured)


@pytest.mark.parametrize(("share", "warned"), [(None, False), (0.0, False), (0.09, False), (0.11, True)])
def test_a_job_that_waits_for_its_data_says_so(share, warned):
    seconds = {} if share is None else {"data_wait_seconds": 0.01 * 3 * share}
    report = report_of(step_seconds=0.01, **seconds)
    assert report.baseline.data_wait_share == (None if share is None else pytest.approx(share))
    assert any("loader-bound" in warning for warning in report.warnings) == warned


@pytest.fixture(scope="module")
async def launcher():
    made = TrialLauncher()
    await made.warm_up()
    yield made
    await made.close()


def other_than(killed):
    """Trials; one that was killed may take a moment to be gone."""
    return [trial for trial in trial_processes() if trial.pid not in killed]


def loaders_of(trials):
    return [child for trial in trials for child in children(trial, recursive=True)]


async def test_loader_processes_give_what_the_loop_itself_would(launcher):
    first, logs = await launcher.run(trial_spec(workers=2), 60, lambda step: None)
    other, _ = await launcher.run(trial_spec(workers=0), 60, lambda step: None)
    assert logs == ""
    assert first.loss_curve == other.loss_curve
    assert first.attestation.data_sha256 == other.attestation.data_sha256
    assert trial_processes() == []


#: Half a second of CPU time, then it waits.
BUSY = """
import sys, time
while time.process_time() < 0.5:
    pass
print(flush=True)
sys.stdin.read()
"""


async def test_cancelling_ends_the_loader_s_processes(launcher):
    async def run():
        await launcher.run(trial_spec(workers=2, training=LONG, hidden_size=512), 60, lambda step: None)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await until(lambda: len(loaders_of(trial_processes())) >= 2)
        loaders = loaders_of(trial_processes())
        tasks.cancel_scope.cancel()
    await until(lambda: gone(loaders))


async def test_a_trial_that_is_killed_takes_its_loader_along_and_is_heard_of(launcher):
    outcomes = []

    async def run():
        outcomes.append(
            await launcher.run(trial_spec(workers=2, training=LONG, hidden_size=512), 120, lambda step: None)
        )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        killed = set()
        while len(killed) < 2:  # it is tried twice
            await until(lambda: len(loaders_of(other_than(killed))) >= 2)
            (victim,) = other_than(killed)
            loaders = loaders_of([victim])
            victim.send_signal(signal.SIGSEGV)
            killed.add(victim.pid)
            await until(lambda loaders=loaders: gone(loaders))
    ((failure, _),) = outcomes
    assert "SIGSEGV" in failure.detail


@pytest.mark.parametrize("ended", [False, True])
def test_the_cpu_time_of_what_a_trial_starts_is_its_own(ended):
    before = HostCounters.now().own_cpu_seconds
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as child:
        child.stdout.readline()
        after = HostCounters.now().own_cpu_seconds
        child.communicate(b"done")
        if ended:
            after = HostCounters.now().own_cpu_seconds
    assert after - before >= 0.4  # the kernel counts in hundredths


#: A parent whose loader is busy for minutes, where it looks at nothing else.
STUCK = """
import time
from halftime.contract.request.data import LoaderConfig
from worker.data.feed import DrawnBatches, LoaderFeed

class Stuck:
    def sample(self, part, count, generator):
        print("making", flush=True)
        time.sleep(600)

LoaderFeed(DrawnBatches(Stuck(), 8, 5, 0), LoaderConfig(workers=1)).next()
"""


async def test_a_loader_that_is_busy_dies_with_its_trial():
    with subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE) as parent:
        parent.stdout.readline()
        loaders = loaders_of([psutil.Process(parent.pid)])
        assert loaders
        parent.kill()
        await until(lambda: gone(loaders))
