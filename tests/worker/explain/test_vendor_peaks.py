"""The vendors' peaks, by the name that the driver reports."""

import pytest

from worker.explain.vendor_peaks import vendor_peak


@pytest.mark.parametrize(
    ("gpu", "precision", "tera_flops"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4),
        ("NVIDIA H100 PCIe", "bf16", 756),
        ("NVIDIA H100 PCIe", "tf32", 378),
        ("NVIDIA H200", "fp32", 66.9),
        ("NVIDIA A100-SXM4-40GB", "fp16", 312),
        ("NVIDIA A100-PCIE-40GB", "tf32", 156),
        ("NVIDIA A100 80GB PCIe", "fp32", 19.5),
        ("NVIDIA L4", "bf16", 121),
        ("NVIDIA L40S", "bf16", 362),
        ("NVIDIA A10", "fp16", 125),
        ("Tesla T4", "fp16", 65),
        ("Tesla V100-SXM2-32GB", "fp16", 125),
        ("NVIDIA GeForce RTX 4090", "tf32", 82.6),
    ],
)
def test_a_known_gpu_has_its_dense_peak(gpu, precision, tera_flops):
    assert vendor_peak(gpu, precision) == pytest.approx(tera_flops * 1e12)


def test_weights_in_bf16_are_multiplied_like_bf16():
    assert vendor_peak("NVIDIA L4", "bf16-true") == vendor_peak("NVIDIA L4", "bf16")


@pytest.mark.parametrize(
    "gpu",
    [
        None,
        "",
        "NVIDIA H100 NVL",
        "NVIDIA H200 NVL",
        "NVIDIA GH200 480GB",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA A10G",
        "GRID A100D-20C",
        "Tesla V100-PCIE-16GB",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
    ],
)
def test_another_variant_a_part_of_a_gpu_and_a_cpu_have_none(gpu):
    assert vendor_peak(gpu, "fp16") is None


@pytest.mark.parametrize("precision", ["bf16", "bf16-true", "tf32"])
def test_a_gpu_has_no_peak_in_a_precision_that_it_lacks(precision):
    assert vendor_peak("Tesla T4", precision) is None
    assert vendor_peak("Tesla V100-SXM2-16GB", precision) is None
