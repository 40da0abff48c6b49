"""What each precision means, without torch: the worker judges by it what its trials report."""

from dataclasses import dataclass
from typing import Literal

from halftime.contract.precisions import PrecisionName

#: The switches of `torch.backends` that decide how FP32 operands are multiplied.
FLAGS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")

#: The relative error against FP64 beyond which a product was not of IEEE FP32, which leaves about 2e-7: the geometric
#: middle towards TF32, which leaves about 3e-4.
LARGEST_FP32_ERROR = 1e-5

#: The switches of `torch.backends.cuda.matmul` that decide how cuBLAS adds products of FP16 and BF16, as torch has them
#: by default: sums in FP32, of which parts may be stored in half precision.
ACCUMULATION = {
    "allow_fp16_accumulation": False,
    "allow_fp16_reduced_precision_reduction": True,
    "allow_bf16_reduced_precision_reduction": True,
}


@dataclass(frozen=True)
class PrecisionFacts:
    """One precision of training."""

    name: PrecisionName
    #: What autocast casts to, as torch calls it; None: no autocast.
    autocast: Literal["float16", "bfloat16"] | None
    #: Only FP16 needs one: BF16 has the range of FP32.
    uses_grad_scaler: bool
    #: What cuBLAS and cuDNN may do with FP32 operands.
    fp32_precision: Literal["ieee", "tf32"]
    #: The compute capability from which on a GPU has it.
    least_capability: tuple[int, int]
    #: Largest relative error of rounding to nearest, of the arithmetic of matrix products: 2^-(explicit bits + 1).
    unit_roundoff: float
    #: Relative error against FP64 that the arithmetic leaves on Gaussian operands: smallest and largest accepted.
    #: Geometric middles between the neighbours' errors, so that one precision is not taken for another.
    error_range: tuple[float, float]
    #: A gradient may be this many times as far from FP64's as rounding explains. Models seen here: 0.7 to 1.5 times
    #: under AMP, and 2 to 6 in FP32, where what is explained leaves out the rounding of sums: that grows with their
    #: length, and with Winograd's convolutions.
    far_outside: int
    #: Where it is multiplied by hardware.
    hardware: str = "any device"

    @property
    def matmul_dtype_name(self) -> str:
        """The dtype that matrix-multiplying modules put out, as torch calls it."""
        return self.autocast or "float32"


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
}  # fmt: skip


def expected_flags(precision: PrecisionFacts) -> dict[str, str]:
    """What every switch must say under a precision."""
    flags: dict[str, str] = {name: precision.fp32_precision if name.startswith("cu") else "ieee" for name in FLAGS}
    return flags | {f"cuda.matmul.{name}": str(allowed) for name, allowed in ACCUMULATION.items()}
