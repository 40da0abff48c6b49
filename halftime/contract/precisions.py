"""The four precisions and the two devices a request can name, and what its legs are called."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

#: fp32: IEEE single precision, no TF32 anywhere. tf32: FP32 tensors, TF32 matmul, convolution and recurrent kernels.
#: fp16: AMP, autocast(float16) + GradScaler. bf16: AMP, autocast(bfloat16), no scaler.
PrecisionName = Literal["fp32", "tf32", "fp16", "bf16"]

#: What a worker owns.
DeviceKind = Literal["cuda", "cpu"]

#: What a request asks for; `auto` takes CUDA where there is one.
DeviceChoice = Literal["cuda", "cpu", "auto"]

#: Precisions that no device of a kind can run, known at submit.
UNSUPPORTED: dict[DeviceKind, frozenset[PrecisionName]] = {"cuda": frozenset(), "cpu": frozenset({"tf32"})}

#: The candidate where a request names none. FP16 on a CPU works, many times slower than FP32.
DEFAULT_CANDIDATE: dict[DeviceKind, PrecisionName] = {"cuda": "fp16", "cpu": "bf16"}


@dataclass(frozen=True)
class PrecisionMark:
    """How charts and pages mark a precision, so that those who cannot tell colours apart can tell legs apart."""

    #: On a light ground; `halftime.css` has the one on a dark ground beside it.
    colour: str
    #: Lengths of a line's strokes and gaps, in pixels.
    dash: tuple[int, ...]
    shape: Literal["circle", "diamond", "square", "triangle-up"]


MARKS: dict[PrecisionName, PrecisionMark] = {
    "fp32": PrecisionMark("#6b7178", (1, 0), "circle"),
    "tf32": PrecisionMark("#a8518a", (2, 2), "diamond"),
    "fp16": PrecisionMark("#bf5300", (8, 3), "square"),
    "bf16": PrecisionMark("#1577b8", (5, 2, 1, 2), "triangle-up"),
}


def supported(kind: DeviceKind) -> str:
    """The precisions that a device of a kind may have, in words."""
    *others, last = (name for name in get_args(PrecisionName) if name not in UNSUPPORTED[kind])
    return f"{', '.join(others)} or {last}"


def leg_names(baseline: PrecisionName, candidates: Sequence[PrecisionName], control: bool) -> list[str]:
    """A name for every leg that no other has: the baseline's, every candidate's, and the control's where there is one.

    A leg is called after its precision, unless the baseline is already.
    """
    compared = [f"{name} again" if name == baseline else name for name in candidates]
    return [baseline, *compared, *([f"{baseline} control"] if control else [])]
