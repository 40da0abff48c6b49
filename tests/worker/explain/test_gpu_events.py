"""How events of a GPU are assigned, with made-up ones: kernels count, and what they leave is the wait for the host."""

from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from worker.explain.profile import REGION, STEP, Times, host_delay_seconds, steps_in_all


def event(name, *children, kernels=(), is_user_annotation=False):
    made = SimpleNamespace(
        name=name,
        device_type=DeviceType.CPU,
        cpu_parent=None,
        cpu_children=list(children),
        kernels=[SimpleNamespace(duration=microseconds) for microseconds in kernels],
        self_cpu_time_total=0.0,
        is_user_annotation=is_user_annotation,
    )
    for child in children:
        child.cpu_parent = made
    return made


def flat(*roots):
    return [one for root in roots for one in (root, *flat(*root.cpu_children))]


def times_of(*roots, seconds=1e-3):
    times = Times("cuda")
    times.add(flat(*roots))
    times.close(seconds)
    return {kind: (round(one.seconds * 1e6), one.calls) for kind, one in times.own.items() if one.seconds}


def test_kernels_count_by_operator_and_the_rest_is_the_hosts():
    step = event(
        STEP,
        event(
            "aten::linear", event("aten::to", event("aten::copy_", kernels=[20])), event("aten::addmm", kernels=[300])
        ),
        event(REGION + "gradient_scaling_and_clipping"),
        event("aten::_foreach_norm", kernels=[10, 10]),
        event(
            "Optimizer.step#AdamW.step",
            event(REGION + "optimizer"),
            event("aten::_fused_adamw_", kernels=[60]),
            event(REGION + "gradient_scaling_and_clipping"),
        ),
        event("aten::_amp_update_scale_", kernels=[5]),
        is_user_annotation=True,
    )
    backward = event(
        "autograd::engine::evaluate_function: AddmmBackward0", event("AddmmBackward0", event("aten::mm", kernels=[100]))
    )
    assert times_of(step, backward) == {
        "casts_and_copies": (20, 1),
        "matrix_products": (400, 2),
        "gradient_scaling_and_clipping": (25, 3),
        "optimizer": (60, 1),
        "host": (495, 0),
    }


def test_operators_are_named_by_the_time_of_their_kernels_known_or_not():
    step = event(
        STEP,
        event("aten::addmm", kernels=[30]),
        event("aten::mm", kernels=[50, 50]),
        event("## Call CompiledFxGraph f123 ##", event("triton_poi_fused_add_0", kernels=[40]), kernels=[1]),
        event(REGION + "optimizer"),
        event("Optimizer.step#Adafactor.step", event("aten::_foreach_mul_", kernels=[20]), is_user_annotation=True),
        is_user_annotation=True,
    )
    times = Times("cuda")
    times.add(flat(step))
    named = {kind: dict(one.by_operator) for kind, one in times.own.items() if any(one.by_operator.values())}
    assert named == {
        "matrix_products": {"aten::mm": 100e-6, "aten::addmm": 30e-6},
        "fused": {"triton_poi_fused_add_0": 40e-6},
        "optimizer": {"aten::_foreach_mul_": 20e-6},
    }


def test_the_backward_pass_of_a_further_step_is_not_the_optimizers():
    step = event(STEP, event(REGION + "optimizer"), event("aten::_fused_sgd_", kernels=[1]))
    assert times_of(step, event(STEP, event("aten::mm", kernels=[7])), seconds=0) == {
        "optimizer": (1, 1),
        "matrix_products": (7, 1),
    }


def test_a_driver_that_records_no_kernel_is_said():
    with pytest.raises(RuntimeError, match="recorded no kernel: the driver may refuse it to a container"):
        Times("cuda").add(flat(event(STEP, event("aten::mm"))))


def test_what_the_profiler_delays_is_measured_with_steps_beside_it():
    assert host_delay_seconds(Times("cuda"), 3, [0.013] * 3, [0.010, 0.012, 0.011]) == pytest.approx(0.002)
    assert host_delay_seconds(Times("cuda"), 3, [0.010] * 3, [0.010, 0.012, 0.011]) == 0
    with_steps_beside = {device: steps_in_all(0.01, torch.device(device)) for device in ("cpu", "cuda")}
    assert with_steps_beside == {"cpu": 5, "cuda": 9}
