"""Operations that wait for the device are seen by torch's dispatcher, and on CUDA by CUDA's own warnings besides."""

import contextlib
import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from tests.factories import data_of, request, run_of
from worker.proof.observed_step import observe_step
from worker.proof.waits import SYNCHRONISES, SynchronisationWatch

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
VALUES, MASK = torch.arange(4.0), torch.tensor([True, False, True, False])
COUNTS = torch.tensor([1, 2, 1, 3])

WAITING = {
    "aten::_local_scalar_dense": lambda: VALUES.sum().item(),
    "aten::nonzero": lambda: torch.where(MASK),
    "aten::masked_select": lambda: VALUES.masked_select(MASK),
    "aten::index": lambda: VALUES[MASK],
    "aten::index_put_": lambda: VALUES.clone().index_put_((MASK,), VALUES[:2]),
    "aten::_unique2": VALUES.unique,
    "aten::unique_consecutive": VALUES.unique_consecutive,
    "aten::unique_dim": lambda: VALUES.reshape(2, 2).unique(dim=0),
    "aten::equal": lambda: torch.equal(VALUES, VALUES),
    "aten::repeat_interleave": lambda: VALUES.repeat_interleave(COUNTS),
    "aten::bincount": COUNTS.bincount,
}

GOING_ON = {
    "an index": lambda: VALUES[COUNTS],
    "a masked fill": lambda: VALUES.clone().masked_fill_(MASK, 0.0),
    "a value put where a mask is": lambda: VALUES.clone().index_put_((MASK,), torch.tensor(0.0)),
    "a choice": lambda: torch.where(MASK, VALUES, 0.0),
    "repeated as often as is known": lambda: VALUES.repeat_interleave(COUNTS, output_size=7),
    "a copy that stays": lambda: VALUES.to(torch.float64),
}


@pytest.mark.parametrize("name", WAITING)
def test_an_operation_that_waits_is_seen(name):
    with SynchronisationWatch(CPU) as watch:
        WAITING[name]()
    assert watch.found() == [f"{name} × 1"]


@pytest.mark.parametrize("name", GOING_ON)
def test_an_operation_that_need_not_wait_is_none(name):
    with SynchronisationWatch(CPU) as watch:
        GOING_ON[name]()
    assert watch.found() == []


class Debugging:
    """CUDA's mode of debugging, which warns of itself."""

    def __init__(self):
        self.mode, self.modes = 0, []

    def set(self, mode):
        warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=1)
        self.mode = mode
        self.modes.append(mode)

    def get(self):
        return self.mode


@pytest.fixture
def debugging(monkeypatch):
    made = Debugging()
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", made.set)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", made.get)
    return made


def test_what_cuda_warns_of_is_named_if_an_operation_did_it_and_counted_if_none(debugging, monkeypatch):
    def operation():
        if debugging.mode == "warn":
            warnings.warn(f"{SYNCHRONISES} (Triggered internally at CUDAFunctions.cpp:155.)", stacklevel=1)

    with SynchronisationWatch(CUDA) as watch:
        inner, outer = torch.library.Library("halftime_test", "FRAGMENT"), []
        inner.define("waiting(Tensor x) -> Tensor")
        inner.impl("waiting", lambda x: (operation(), x.clone())[1], "CompositeExplicitAutograd")
        torch.ops.halftime_test.waiting(VALUES)
        operation()
        outer.append(VALUES + 1)
        warnings.warn("something else", stacklevel=1)
    inner._destroy()
    assert watch.found() == ["halftime_test::waiting × 1", "synchronisation reported by CUDA × 1"]
    assert debugging.modes == ["warn", 0]


def test_the_mode_is_reset_after_an_error(debugging):
    with pytest.raises(RuntimeError, match="broke"), SynchronisationWatch(CUDA):
        raise RuntimeError("broke")
    assert debugging.mode == 0


def test_cuda_is_left_alone_where_the_step_is_on_a_cpu(debugging):
    with SynchronisationWatch(CPU):
        pass
    assert debugging.modes == []


@pytest.mark.parametrize(
    ("copy", "waits"),
    [
        (lambda here, there: here.to(CUDA), True),
        (lambda here, there: here.to(CUDA, non_blocking=True), True),  # the host's memory is not page-locked
        (lambda here, there: there.to(CPU), True),
        (lambda here, there: there.to(CPU, non_blocking=True), False),
        (lambda here, there: there.to(torch.float16), False),
        (lambda here, there: there.tolist(), True),
    ],
)
def test_copies_between_host_and_device_wait_unless_they_may_go_on(debugging, copy, waits):
    with FakeTensorMode(), SynchronisationWatch(CUDA) as watch:
        here, there = torch.empty(4), torch.empty(4, device=CUDA)
        with contextlib.suppress(DataDependentOutputException):  # a fake tensor has no values to list
            copy(here, there)
    assert bool(watch.found()) is waits, watch.found()


def test_a_step_that_picks_by_a_mask_is_told_of():
    asked = request()
    run = run_of(asked.model, "fp32", asked.config.training)
    batch = data_of(asked.model, asked.config.training).training[0]
    run.model.register_forward_hook(lambda module, inputs, result: result + result[result > 1e9].sum())
    found = observe_step(run, batch).synchronisations
    assert any(name.startswith("aten::index ") for name in found), found
