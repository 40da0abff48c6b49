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

    @property
    def matmul_dtype_name(self) -> str:
        """The dtype that matrix-multiplying modules put out, as torch calls it."""
        return self.autocast or "float32"


FACTS: dict[PrecisionName, PrecisionFacts] = {
    "fp32": PrecisionFacts("fp32", None, False, "ieee"),
    "tf32": PrecisionFacts("tf32", None, False, "tf32"),
    "fp16": PrecisionFacts("fp16", "float16", True, "ieee"),
    "bf16": PrecisionFacts("bf16", "bfloat16", False, "ieee"),
}


def expected_flags(precision: PrecisionFacts) -> dict[str, str]:
    """What every switch must say under a precision."""
    flags: dict[str, str] = {name: precision.fp32_precision if name.startswith("cu") else "ieee" for name in FLAGS}
    return flags | {f"cuda.matmul.{name}": str(allowed) for name, allowed in ACCUMULATION.items()}
