"""The vendors' dense peaks of matrix products, to compare measured rates with; no figure is derived from them.

Dense: without structured sparsity, with which the datasheets' headline figures are doubled, and with sums in FP32. FP32
is the peak outside tensor cores.
"""

import re

from halftime.contract.precisions import PrecisionName

#: Words of a GPU's name that do not change its peaks: brands, and the size of its memory.
WITHOUT_EFFECT = re.compile(r"nvidia|tesla|geforce|\d+gb", re.IGNORECASE)

TERA = 1e12


def _peaks(fp32: float, tf32: float | None, fp16: float, bf16: float | None) -> dict[PrecisionName, float]:
    """Returns the known peaks, given in TFLOP/s, in FLOP/s."""
    peaks: dict[PrecisionName, float | None] = {
        "fp32": fp32, "tf32": tf32, "fp16": fp16, "bf16": bf16, "bf16-true": bf16,
    }  # fmt: skip
    return {precision: peak * TERA for precision, peak in peaks.items() if peak is not None}


# NVIDIA A100 Tensor Core GPU, datasheet (2021).
_A100 = _peaks(19.5, 156, 312, 312)
# NVIDIA H100 Tensor Core GPU Architecture, white paper (2022). The datasheets of H100 and H200 have the tensor cores'
# figures with sparsity, which are twice as high.
_H100_SXM = _peaks(66.9, 494.7, 989.4, 989.4)
_H100_PCIE = _peaks(51, 378, 756, 756)

#: By the words of the name that NVML reports. A MIG instance, a vGPU or a variant that is not listed has other peaks.
PEAKS: dict[frozenset[str], dict[PrecisionName, float]] = {
    frozenset({"a100", "sxm4"}): _A100,
    frozenset({"a100", "pcie"}): _A100,
    frozenset({"h100", "hbm3"}): _H100_SXM,
    frozenset({"h100", "pcie"}): _H100_PCIE,
    frozenset({"h200"}): _H100_SXM,
    # NVIDIA L4 Tensor Core GPU, datasheet (2023).
    frozenset({"l4"}): _peaks(30.3, 60, 121, 121),
    # NVIDIA L40S, datasheet (2023).
    frozenset({"l40s"}): _peaks(91.6, 183, 362, 362),
    # NVIDIA A10 Tensor Core GPU, datasheet (2021).
    frozenset({"a10"}): _peaks(31.2, 62.5, 125, 125),
    # NVIDIA T4 Tensor Core GPU, datasheet (2019).
    frozenset({"t4"}): _peaks(8.1, None, 65, None),
    # NVIDIA V100 Tensor Core GPU, datasheet (2020).
    frozenset({"v100", "sxm2"}): _peaks(15.7, None, 125, None),
    # NVIDIA Ada GPU Architecture, white paper (2022).
    frozenset({"rtx", "4090"}): _peaks(82.6, 82.6, 165.2, 165.2),
}


def vendor_peak(gpu: str | None, precision: PrecisionName) -> float | None:
    """FLOP/s of a GPU, by the name that NVML reports; None for a CPU, and for what is not in the table."""
    words = re.split(r"[\s-]+", gpu.casefold()) if gpu else []
    telling = frozenset(word for word in words if not WITHOUT_EFFECT.fullmatch(word))
    return PEAKS.get(telling, {}).get(precision)
