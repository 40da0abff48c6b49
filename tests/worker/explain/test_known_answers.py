"""Steps whose time is spent on something known are explained as what they are. Real training under the profiler."""

import pytest
import torch
from torch import nn

from halftime.contract.report.explanation import StepProfile
from halftime.contract.request.training import TrainingConfig
from halftime.plugin import Vectors
from tests.worker.explain import planted
from worker.explain import profile as profiles
from worker.explain.profile import profile_steps, steps_for
from worker.tasks import as_task
from worker.training.loop import prepare
from worker.training.precision import PRECISIONS, set_flags

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def exact_switches():
    set_flags(PRECISIONS["fp32"])


def profiled(model: nn.Module, size=planted.SIZE, samples=64, precision="fp32", **settings) -> StepProfile:
    torch.manual_seed(0)
    task = as_task(Vectors(size, 4))
    run = prepare(model.train(), task, PRECISIONS[precision], TrainingConfig(**settings), CPU)
    batch = (torch.randn(samples, size), torch.randint(0, 4, (samples,)))
    return profile_steps(run, batch, CPU, 0.001, lambda _: None)


def largest(profile: StepProfile):
    return max(profile.kinds, key=lambda one: one.profiled_seconds).kind


def kind(profile, name):
    (found,) = [one for one in profile.kinds if one.kind == name]
    return found


def test_products_are_matrix_products_with_their_flops():
    profile = profiled(planted.products(), size=768, samples=256, max_grad_norm=None)
    assert largest(profile) == "matrix_products"
    forward = 2 * 256 * (4 * 768 * 768 + 768 * 4)
    of_first_input = 2 * 256 * 768 * 768  # needs no gradient
    assert kind(profile, "matrix_products").flops_by_dtype == {"float32": 3 * forward - of_first_input}


def test_elementwise_work_is_elementwise_and_its_slowest_operators_are_named():
    profile = profiled(planted.Elementwise(), samples=512)
    assert largest(profile) == "elementwise"
    work = kind(profile, "elementwise")
    seconds = [one.seconds_per_step for one in work.slowest_operators]
    names = {one.name for one in work.slowest_operators}
    assert "aten::mul" in names
    assert names <= {"aten::addcmul", "aten::mul", "aten::add", "aten::add_"}
    assert seconds == sorted(seconds, reverse=True)
    assert 0 < sum(seconds) <= work.profiled_seconds


def test_a_delay_of_the_host_is_the_hosts():
    assert largest(profiled(planted.Delayed())) == "host"


def test_a_cast_per_layer_is_found():
    profile = profiled(planted.Casting(), samples=64)
    assert largest(profile) == "casts_and_copies"
    assert kind(profile, "casts_and_copies").calls >= 2 * 2 * 4  # forward and backward


def test_tiny_operations_are_counted():
    profile = profiled(planted.Tiny(), samples=4)
    assert kind(profile, "elementwise").calls >= 400


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adafactor"])
@pytest.mark.parametrize("implementation", ["auto", "foreach"])
def test_the_optimizers_and_the_clippings_operators_are_theirs_alone(optimizer, implementation):
    profile = profiled(nn.Linear(planted.SIZE, 4), optimizer=optimizer, optimizer_implementation=implementation)
    assert kind(profile, "optimizer").calls >= 1
    assert kind(profile, "gradient_scaling_and_clipping").calls >= 1
    names = {one.kind for one in profile.kinds}
    assert "unassigned" not in names
    assert kind(profile, "optimizer").bytes_by_size
    assert sum(one.calls for one in profile.kinds if one.kind == "reductions") <= 2  # the loss, the bias's gradient


def test_the_times_add_up_to_the_profiled_steps():
    for model in (planted.Elementwise(), planted.Tiny(), planted.Delayed()):
        profile = profiled(model)
        assert sum(one.profiled_seconds for one in profile.kinds) == pytest.approx(
            profile.profiled_step_seconds, rel=0.02
        )


def test_the_delay_of_a_step_is_that_of_all_operations_that_were_recorded(monkeypatch):
    monkeypatch.setattr(profiles, "operation_delay_seconds", lambda: 1e-6)
    profile = profiled(planted.Tiny(), samples=4)
    recorded = sum(one.recorded_inside for one in profile.kinds)
    assert recorded > 400
    assert profile.host_delay_seconds == pytest.approx(1e-6 * recorded)


def test_long_steps_are_profiled_once():
    assert steps_for(30.0) == 1
    assert steps_for(0.01) == 3
    assert steps_for(0.0) == 3


class _Unknown(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(planted.SIZE, 4)

    def forward(self, inputs):
        return self.head(torch.ops.halftime_test.strange(inputs))


def test_an_operator_that_nobody_knows_is_unassigned_and_named():
    library = torch.library.Library("halftime_test", "DEF")
    library.define("strange(Tensor inputs) -> Tensor")
    library.impl("strange", lambda inputs: inputs.clone(), "CompositeExplicitAutograd")
    profile = profiled(_Unknown())
    assert profile.unknown_operators == ["halftime_test::strange"]
    assert kind(profile, "unassigned").calls == 1
