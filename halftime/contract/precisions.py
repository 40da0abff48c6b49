"""The precisions and devices that a request can name, and the names of its legs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

#: fp32: IEEE single precision, no TF32 anywhere. tf32: FP32 tensors, TF32 matmul, convolution and recurrent kernels.
#: fp16: AMP, autocast(float16) + GradScaler. bf16: AMP, autocast(bfloat16), no scaler.
#: bf16-true: weights, gradients and optimizer state in BF16; no autocast, no scaler.
PrecisionName = Literal["fp32", "tf32", "fp16", "bf16", "bf16-true"]

#: Kind of the device that a worker owns.
DeviceKind = Literal["cuda", "cpu"]

#: Device that a request asks for; `auto` uses CUDA where it is available.
DeviceChoice = Literal["cuda", "cpu", "auto"]

#: Precisions that no device of a kind can run; a request for one is refused at submission.
UNSUPPORTED: dict[DeviceKind, frozenset[PrecisionName]] = {"cuda": frozenset(), "cpu": frozenset({"tf32"})}

#: The candidate of a request that names none. FP16 works on a CPU, but is many times slower than FP32.
DEFAULT_CANDIDATE: dict[DeviceKind, PrecisionName] = {"cuda": "fp16", "cpu": "bf16"}


@dataclass(frozen=True)
class PrecisionMark:
    """How charts and pages mark a precision, so that those who cannot tell colours apart can tell legs apart."""

    #: On a light ground; `halftime.css` has the one on a dark ground beside it.
    colour: str
    #: Lengths of a line's strokes and gaps, in pixels.
    dash: tuple[int, ...]
    shape: Literal["circle", "diamond", "square", "triangle-up", "cross"]


MARKS: dict[PrecisionName, PrecisionMark] = {
    "fp32": PrecisionMark("#6b7178", (1, 0), "circle"),
    "tf32": PrecisionMark("#a8518a", (2, 2), "diamond"),
    "fp16": PrecisionMark("#bf5300", (8, 3), "square"),
    "bf16": PrecisionMark("#1577b8", (5, 2, 1, 2), "triangle-up"),
    "bf16-true": PrecisionMark("#0f7a5a", (10, 2, 2, 2, 2, 2), "cross"),
}


def supported(kind: DeviceKind) -> str:
    """The precisions that a device of a kind may have, in words."""
    *others, last = (name for name in get_args(PrecisionName) if name not in UNSUPPORTED[kind])
    return f"{', '.join(others)} or {last}"


def leg_names(baseline: PrecisionName, candidates: Sequence[PrecisionName], control: bool) -> list[str]:
    """Returns a unique name for every leg: the baseline, the candidates, and the control leg if there is one.

    A leg is named after its precision; a candidate with the baseline's precision gets the suffix `again`.
    """
    candidate_names = [f"{name} again" if name == baseline else name for name in candidates]
    return [baseline, *candidate_names, *([f"{baseline} control"] if control else [])]
