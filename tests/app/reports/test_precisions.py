"""How what a device can do in each precision is worded."""

import pytest

from app.reports.text.precisions import precision_hint, precision_remedies, precisions_line, rate
from halftime.contract.resources.worker import WorkerDevice
from tests.app.acts import EMULATED, NATIVE_BF16, support


def device(precisions, kind="cpu", gpu=None):
    return WorkerDevice(name=kind, kind=kind, gpu=gpu, memory_bytes=None, precisions=precisions)


@pytest.mark.parametrize(
    ("flops_per_second", "said"),
    [(3.81e9, "3.81 GFLOP/s"), (2.2e11, "220 GFLOP/s"), (7.9e14, "790 TFLOP/s"), (1.2e15, "1,200 TFLOP/s"),
     (9.996e11, "1,000 GFLOP/s"), (2e6, "2 MFLOP/s"), (2e5, "0.2 MFLOP/s")],
)  # fmt: skip
def test_a_rate_has_three_digits(flops_per_second, said):
    assert rate(flops_per_second) == said


def test_every_precision_is_told_with_its_kernels_and_its_rate():
    assert precisions_line(device(EMULATED)) == (
        "fp32 220 GFLOP/s · fp16 emulated, 4.1 GFLOP/s · bf16 emulated, 3.8 GFLOP/s · no tf32"
    )


def test_what_there_was_no_room_to_measure_is_told_without_a_rate():
    assert precisions_line(device([support("fp32"), support("fp16", None, "emulated")])) == (
        "fp32 native · fp16 emulated"
    )


def test_of_a_worker_that_measured_nothing_nothing_is_told():
    assert precisions_line(device(None)) == ""
    assert precision_remedies(device(None)) == []
    assert precision_hint([device(None)]) == ""


def test_what_is_not_native_has_its_remedy_unless_no_device_of_the_kind_has_it():
    assert [remedy.split()[4] for remedy in precision_remedies(device(EMULATED))] == ["fp16", "bf16"]
    turing = device([support("tf32", kernels="absent")], "cuda", "NVIDIA T4")
    assert [remedy.split()[4] for remedy in precision_remedies(turing)] == ["tf32"]


def test_a_hint_names_what_every_device_of_a_name_lacks():
    volta = device([support("fp32", 1e13), support("bf16", kernels="absent")], "cuda", "Tesla V100")
    fleet = [device(EMULATED), device(NATIVE_BF16), volta]
    assert precision_hint(fleet) == "fp16: emulated on the CPU; bf16: absent on Tesla V100"
    assert precision_hint([device(EMULATED), device(EMULATED)]) == "fp16, bf16: emulated on the CPU"
    assert precision_hint([device(EMULATED), device(None)]) == ""
    assert precision_hint([]) == ""
