"""A loader whose batches outgrow shared memory, or that falls silent, ends its trial with the cause, and soon."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from halftime.contract.request.data import LoaderConfig
from tests.factories import comparison, request, trial
from tests.mounts import python_with_tmpfs
from tests.worker.data.test_loader import trial_spec
from worker.comparison.capacity import measure_capacity
from worker.comparison.deadlines import MIN_DEADLINE_SECONDS
from worker.data import make_data
from worker.data.loader_limits import BATCH_TIMEOUT_SECONDS, in_shared_memory, require_shared_memory
from worker.device import host_counters
from worker.errors import TrialFailed
from worker.models import TaskBlueprint, blueprint_of
from worker.trial.run import run_trial

PAGE = 4096

#: Two samples: 4,000 bytes of inputs and 8 of targets each. Of eight, the inputs take 8 pages and the targets 1.
EXAMPLE = torch.zeros(2, 1000), torch.zeros(2, dtype=torch.int64)


@pytest.fixture
def free(monkeypatch):
    """Sets what shared memory has free."""
    return lambda size_bytes: monkeypatch.setattr("worker.data.loader_limits.free_shared_bytes", lambda: size_bytes)


@pytest.mark.parametrize(
    ("workers", "steps", "pages"),
    [(2, 100, 5 * 9 + 14), (2, 3, 3 * 9 + 14), (1, 100, 3 * 9 + 11)],
    ids=["two-ahead-of-each-and-one-in-training", "no-more-than-there-are-steps", "one-process"],
)
def test_a_loader_has_room_for_all_batches_that_there_are_at_once(free, workers, steps, pages):
    free(pages * PAGE)
    require_shared_memory(LoaderConfig(workers=workers), EXAMPLE, 8, steps)
    free(pages * PAGE - 1)
    with pytest.raises(TrialFailed) as refused:
        require_shared_memory(LoaderConfig(workers=workers), EXAMPLE, 8, steps)
    assert refused.value.failure.code == "invalid_data"


def test_a_refusal_has_the_figures_and_the_remedies(free):
    free(2**26)
    batch = torch.zeros(1, 2**20), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(TrialFailed) as refused:
        require_shared_memory(LoaderConfig(workers=4), batch, 64, 100)
    assert refused.value.failure.detail == (
        "data.loader: with workers=4, up to 9 batches of 256.0 MiB are in shared memory at once, 2304.1 MiB in total, "
        "but /dev/shm has only 64.0 MiB free. Give the worker more (docker run --shm-size 3g; compose: shm_size: 3gb; "
        "Kubernetes: an emptyDir of medium Memory at /dev/shm), or use fewer data.loader.workers or a smaller "
        "training.batch_size."
    )


def test_a_loader_without_processes_needs_no_shared_memory(free):
    free(0)
    assert run_trial(trial_spec(workers=0), lambda step: None).applied_steps > 0


def test_where_no_bound_is_told_none_is_held_against_a_loader(free):
    free(None)
    require_shared_memory(LoaderConfig(workers=2), EXAMPLE, 8, 100)


def test_a_trial_is_refused_before_its_model_is_built(free, monkeypatch):
    free(0)
    spec = trial_spec(workers=2)
    unbuilt = TaskBlueprint(blueprint_of(spec.model).task, lambda: pytest.fail("the model was built"))
    monkeypatch.setattr("worker.trial.preparation.blueprint_of", lambda spec: unbuilt)
    with pytest.raises(TrialFailed, match="docker run --shm-size 1g"):
        run_trial(spec, lambda step: None)


@pytest.mark.anyio
async def test_the_search_for_the_largest_batch_ends_with_the_cause(free):
    asked = request(
        data={"kind": "synthetic", "loader": {"workers": 1}},
        training={"batch_size": 8, "steps": 5, "warmup_steps": 2},
        measurement={"capacity": True, "capacity_memory_mib": 100, "min_blocks": 2},
    )
    measured = comparison(asked)

    async def run_one(spec, deadline_seconds, after_step):
        free(0 if spec.training.batch_size > 16 else 2**30)
        try:
            make_data(blueprint_of(spec.model).task, spec.data, spec.training, spec.seed)
        except TrialFailed as error:
            return error.failure
        return trial(spec)

    await measure_capacity(measured, run_one, lambda progress: None)
    found = measured.baseline.capacity
    assert (found.largest_batch_size, found.stopped_by, found.failure.code) == (16, "failure", "invalid_data")
    assert "has only 0.0 MiB free" in found.failure.detail


def test_what_is_free_is_that_of_the_file_system_that_is_seen(monkeypatch):
    monkeypatch.setattr(host_counters, "available_host_bytes", lambda: 7)
    assert host_counters.free_shared_bytes(Path("/missing")) == 0
    assert host_counters.free_shared_bytes(Path("/proc")) == 7  # a file system without a bound
    assert host_counters.free_shared_bytes(Path("/")) not in {0, 7}


def test_of_a_larger_tensor_only_the_batch_is_shared():
    pool = torch.arange(800.0).view(100, 8)
    inputs, targets = in_shared_memory((pool[10:12], torch.tensor([1, 2])))
    assert inputs.is_shared() and targets.is_shared() and not pool.is_shared()
    assert torch.equal(inputs, pool[10:12])
    assert inputs.untyped_storage().nbytes() == inputs.nbytes


def test_a_silent_loader_is_given_up_before_its_trial_is():
    assert BATCH_TIMEOUT_SECONDS < MIN_DEADLINE_SECONDS


#: Trials with a loader of one process, for models of a few weights.
TRIALS = """
import multiprocessing, os, signal, time
import torch
from torch.utils.data import get_worker_info
from halftime.contract.request.data import LoaderConfig, SyntheticData
from halftime.contract.models import MlpSpec
from halftime.contract.request.training import TrainingConfig
from worker import data
from worker.data import feed
from worker.data.synthetic.vectors import VectorSource
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.trial.run import run_trial

def tell(batch_size):
    spec = TrialSpec(
        device="cpu", precision="fp32", block=0, position=0,
        model=MlpSpec(input_size=1024, hidden_size=8, num_layers=1, num_classes=4),
        training=TrainingConfig(batch_size=batch_size, steps=12, warmup_steps=2),
        data=SyntheticData(loader=LoaderConfig(workers=1)),
    )
    try:
        print("trained for", run_trial(spec, lambda step: None).applied_steps)
    except TrialFailed as error:
        print(error.failure.code, error.failure.detail)
"""

OUTGROWN = f"""{TRIALS}
tell(64)
tell(80)
data.require_shared_memory = lambda *loader: None  # as where others take the room later
tell(80)
"""


def test_in_a_small_shared_memory_a_loader_that_fits_trains_and_one_that_outgrows_it_is_refused():
    room = (3 * (64 + 1) + 11) * PAGE  # a sample has 4,096 bytes, and the targets of a batch a page of their own
    trained, refused, failed = python_with_tmpfs("/dev/shm", f"size={room}", OUTGROWN).splitlines()  # noqa: S108
    assert trained == "trained for 12"
    assert refused.startswith("invalid_data data.loader: with workers=1, up to 3 batches of 0.3 MiB are in")
    assert "has only 0.8 MiB free. Give the worker more (docker run --shm-size 1g" in refused
    assert failed.startswith("invalid_data data.loader: a batch did not fit into shared memory: unable to allocate")
    assert "--shm-size 1g" in failed


LOST = f"""{TRIALS}
class Lost(VectorSource):
    def __init__(self, end):
        super().__init__(1024, 4, torch.Generator())
        self.end = end

    def sample(self, part, count, generator):
        if get_worker_info() is not None:
            self.end()
        return super().sample(part, count, generator)

def hang():
    time.sleep(600)

def die():
    os.kill(os.getpid(), signal.SIGBUS)

feed.BATCH_TIMEOUT_SECONDS = 0.5
for end in (hang, die):
    data.make_source = lambda *asked: Lost(end)
    tell(8)
held = feed.LoaderFeed(feed.DrawnBatches(Lost(hang), 8, 5, 0), LoaderConfig(workers=2))
try:
    held.next()
except RuntimeError:
    time.sleep(0.5)  # what is closed on the way out takes its time, and nothing may be raised there
    for child in multiprocessing.active_children():
        child.join(30)
    print("left:", multiprocessing.active_children())
"""


@pytest.fixture(scope="module")
def lost():
    ended = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_a_source_that_hangs_in_a_loader_s_process_is_told_apart_from_shared_memory(lost):
    assert lost[0].startswith("invalid_data data.loader: no batch arrived within 90 s. The data source hangs")
    assert "shared memory is not the cause (/dev/shm has" in lost[0]


def test_a_loader_s_process_that_dies_of_a_full_shared_memory_is_told_as_that(lost):
    assert lost[1].startswith("invalid_data data.loader: a loader process ran out of shared memory")
    assert "--shm-size 1g" in lost[1]


def test_processes_that_hang_are_not_waited_for(lost):
    assert lost[2] == "left: []"
