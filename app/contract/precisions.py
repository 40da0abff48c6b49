"""The four precisions and the two devices a request can name."""

from typing import Literal

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
