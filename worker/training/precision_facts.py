"""Settings and limits of each precision, without torch: the worker checks trial results against them."""

from dataclasses import dataclass
from typing import Literal

from halftime.contract.precisions import PrecisionName

#: The switches of `torch.backends` that decide how FP32 operands are multiplied.
FLAGS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")

#: Largest relative error against FP64 of an IEEE FP32 product (about 2e-7): the geometric mean of that and of TF32's
#: error (about 3e-4).
LARGEST_FP32_ERROR = 1e-5

#: The switches of `torch.backends.cuda.matmul` that decide how cuBLAS accumulates products of FP16 and BF16, with
#: torch's defaults: sums in FP32, of which parts may be stored in half precision.
ACCUMULATION = {
    "allow_fp16_accumulation": False,
    "allow_fp16_reduced_precision_reduction": True,
    "allow_bf16_reduced_precision_reduction": True,
}


@dataclass(frozen=True)
class PrecisionFacts:
    """Settings of one precision."""

    name: PrecisionName
    #: torch's name of autocast's dtype; None: no autocast.
    autocast: Literal["float16", "bfloat16"] | None
    #: Only FP16 needs a gradient scaler: BF16 has the range of FP32.
    uses_grad_scaler: bool
    #: How cuBLAS and cuDNN may multiply FP32 operands.
    fp32_precision: Literal["ieee", "tf32"]
    #: Lowest compute capability of GPUs that support it.
    least_capability: tuple[int, int]
    #: Largest relative error of rounding to nearest, in matrix products: 2^-(explicit mantissa bits + 1).
    unit_roundoff: float
    #: Smallest and largest accepted relative error against FP64 on Gaussian operands: the geometric means between the
    #: errors of adjacent precisions, which separate them.
    error_range: tuple[float, float]
    #: Largest accepted ratio of the gradient's error against FP64 to the error that rounding explains. Measured ratios:
    #: 0.7 to 1.5 under AMP, and 2 to 6 in FP32, where the explained error leaves out the rounding of sums, which grows
    #: with their length and with Winograd convolutions.
    max_error_ratio: int
    #: Devices with hardware support.
    hardware: str = "any device"
    #: torch's name of the dtype of weights, gradients and optimizer state.
    weights: Literal["float32", "bfloat16"] = "float32"

    @property
    def matmul_dtype_name(self) -> str:
        """torch's name of the output dtype of matrix-multiplying modules."""
        return self.autocast or self.weights


FACTS: dict[PrecisionName, PrecisionFacts] = {
    "fp32": PrecisionFacts("fp32", None, False, "ieee", (0, 0), 2.0**-24, (0.0, LARGEST_FP32_ERROR), 30),
    "tf32": PrecisionFacts(
        "tf32", None, False, "tf32", (8, 0), 2.0**-11, (0.0, 1e-3), 10, "a CUDA GPU of compute capability 8.0"
    ),
    "fp16": PrecisionFacts(
        "fp16", "float16", True, "ieee", (0, 0), 2.0**-11, (1e-5, 1e-3), 10,
        "a CUDA GPU, or a CPU with AVX512-FP16 or AMX-FP16",
    ),
    "bf16": PrecisionFacts(
        "bf16", "bfloat16", False, "ieee", (8, 0), 2.0**-8, (1e-3, 1e-2), 10,
        "a CUDA GPU of compute capability 8.0, or a CPU with AVX512-BF16 or AMX",
    ),
    "bf16-true": PrecisionFacts(
        "bf16-true", None, False, "ieee", (8, 0), 2.0**-8, (1e-3, 1e-2), 10,
        "a CUDA GPU of compute capability 8.0, or a CPU with AVX512-BF16 or AMX", "bfloat16",
    ),
}  # fmt: skip


def expected_flags(precision: PrecisionFacts) -> dict[str, str]:
    """Returns the expected value of every switch under a precision."""
    flags: dict[str, str] = {name: precision.fp32_precision if name.startswith("cu") else "ieee" for name in FLAGS}
    return flags | {f"cuda.matmul.{name}": str(allowed) for name, allowed in ACCUMULATION.items()}
