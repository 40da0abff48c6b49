"""What a device can do at most, as its worker measures it when it starts."""

import math

import pytest
import torch

from halftime.contract.resources.worker import DeviceCeilings
from tests.worker.proof.test_precision_support import said_by_an_avx2_cpu
from worker.device import device as devices
from worker.explain import ceilings
from worker.explain.ceilings import SIZES_BYTES, ceilings_or_reason, measure_ceilings

SAY = """
from worker.explain.ceilings import measure_ceilings
print(measure_ceilings("cpu").model_dump_json())
"""


@pytest.fixture
def few_products(monkeypatch):
    """For tests of the rest."""
    monkeypatch.setattr(ceilings, "measure_ceiling", lambda precision, device: 1e9)


def sizes(measured):
    return [one.size_bytes for one in measured.memory]


def test_a_cpu_s_arithmetic_memory_and_launches_are_measured():
    measured = measure_ceilings("cpu")
    assert set(measured.flops_per_second) == {"fp32", "fp16", "bf16", "bf16-true"}
    assert all(rate > 0 for rate in measured.flops_per_second.values())
    assert sizes(measured) == list(SIZES_BYTES)
    assert all(one.bytes_per_second > 0 for one in measured.memory)
    assert measured.launch_seconds > 0
    assert (measured.torch, measured.driver) == (torch.__version__, None)


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="no x86 CPU with AVX2")
def test_an_emulated_precision_is_measured_too():
    """Its slowest layout may take twenty times as long as its fastest: see `test_precision_support`."""
    measured = DeviceCeilings.model_validate_json(said_by_an_avx2_cpu(SAY))
    assert 0 < measured.flops_per_second["bf16"] < measured.flops_per_second["fp32"]


def test_a_precision_without_room_for_its_products_is_left_out(monkeypatch):
    monkeypatch.setattr(
        ceilings, "measure_ceiling", lambda precision, device: None if precision.name == "fp16" else 1e9
    )
    assert set(measure_ceilings("cpu").flops_per_second) == {"fp32", "bf16", "bf16-true"}


def test_a_size_that_does_not_fit_into_the_free_memory_is_left_out(monkeypatch, few_products):
    monkeypatch.setattr(devices, "free_bytes", lambda device: 2**27)
    assert sizes(measure_ceilings("cpu")) == list(SIZES_BYTES[:3])


def test_a_size_whose_memory_is_refused_is_left_out(monkeypatch, few_products):
    real = torch.ones

    def ones(*shape, **options):
        if math.prod(shape) * torch.float32.itemsize > 2**20:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8388608 bytes.")
        return real(*shape, **options)

    monkeypatch.setattr(torch, "ones", ones)
    assert sizes(measure_ceilings("cpu")) == list(SIZES_BYTES[:2])


def test_a_measurement_that_fails_gives_its_reason(monkeypatch, capsys):
    def fail(precision, device):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nand more")

    monkeypatch.setattr(ceilings, "measure_ceiling", fail)
    assert ceilings_or_reason("cpu") == (None, "RuntimeError: CUDA error: an illegal memory access was encountered")
    assert "Traceback" in capsys.readouterr().err
