"""Sets the switches of each precision and reads them back.

fp32 is IEEE single precision everywhere. torch's defaults are not: cuDNN's convolutions and recurrent kernels run in
TF32 by default, so every switch is set and read back.
"""

import os
import re
from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations
from torch.utils.hooks import RemovableHandle

from halftime.contract.precisions import UNSUPPORTED, PrecisionName, supported
from halftime.contract.report.failure import FailureCode
from worker.device.architectures import missing_code, why_unavailable
from worker.errors import TrialFailed
from worker.training.precision_facts import ACCUMULATION, FACTS, FLAGS, PrecisionFacts


class Precision(PrecisionFacts):
    """Settings of one precision, with torch's types."""

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The dtype of autocast; None: no autocast."""
        return None if self.autocast is None else _dtype(self.autocast)

    @property
    def weights_dtype(self) -> torch.dtype:
        """The dtype of weights, gradients and optimizer state."""
        return _dtype(self.weights)

    @property
    def matmul_dtype(self) -> torch.dtype:
        """The output dtype of matrix-multiplying modules."""
        return _dtype(self.matmul_dtype_name)


PRECISIONS: dict[PrecisionName, Precision] = {name: Precision(**asdict(facts)) for name, facts in FACTS.items()}

#: Variables that override the switches, which do not show it, whatever their value.
OVERRIDES = ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")

#: Disables torch's caching allocator, which invalidates memory and time figures, if set to any value.
NO_CACHING = "PYTORCH_NO_CUDA_MEMORY_CACHING"

#: Makes every kernel launch synchronous if set to a number other than 0.
LAUNCH_BLOCKING = "CUDA_LAUNCH_BLOCKING"

#: Prefixes of the variables that CUDA, its libraries and torch read.
RECORDED = ("CUDA_", "CUBLAS", "CUDNN", "TORCH", "PYTORCH", "NVIDIA_")

#: Patterns of secrets: in a variable's name, or in its value, such as a URL with a password.
SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)
SECRET_VALUE = re.compile(r"://[^/@]*@")

#: Modules that multiply matrices, which autocast runs in lower precision.
MATMUL_MODULES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

#: torch's number of the running backward pass while none runs.
NO_BACKWARD = -1

#: GPT-2's linear layer with transposed weight; by name, because the library is loaded only for models that need it.
TRANSPOSED_LINEAR = ("transformers.pytorch_utils", "Conv1D")


def check(device: torch.device, precision: Precision) -> None:
    """Checks that the device supports a precision. Raises TrialFailed: `cuda_unavailable`, `unsupported_precision`."""
    if device.type == "cpu":
        if precision.name in UNSUPPORTED["cpu"]:
            reason = f"CPUs do not support {precision.name}. Use {supported('cpu')}."
            raise TrialFailed.because(FailureCode.UNSUPPORTED_PRECISION, reason)
        return
    if not torch.cuda.is_available():
        raise TrialFailed.because(
            FailureCode.CUDA_UNAVAILABLE,
            f"torch {torch.__version__} finds no CUDA device ({why_unavailable()}). Check the driver (`nvidia-smi`) "
            "and that torch is a CUDA build, or use device `cpu`.",
        )
    if (device.index or 0) >= torch.cuda.device_count():
        raise TrialFailed.because(
            FailureCode.CUDA_UNAVAILABLE, f"torch does not find {device}. Check `nvidia-smi` and CUDA_VISIBLE_DEVICES."
        )
    missing = missing_code(device)
    if missing is not None:
        raise TrialFailed.because(FailureCode.CUDA_UNAVAILABLE, missing)
    capability = torch.cuda.get_device_capability(device)
    least = precision.least_capability
    if capability < least:
        name = torch.cuda.get_device_name(device)
        raise TrialFailed.because(
            FailureCode.UNSUPPORTED_PRECISION,
            f"{precision.name} needs compute capability {least[0]}.{least[1]}; "
            f"{name} has {capability[0]}.{capability[1]}. Use fp16.",
        )


def set_flags(precision: Precision) -> None:
    """Sets every switch of `torch.backends` that decides how operands are multiplied and products accumulated.

    torch has an old pair of switches and a new one for each backend, and raises when the old pair is read while the two
    disagree; torch.compile's autotuning reads it. So the old pair is set first, which also sets the new ones. oneDNN
    (CPU) stays IEEE in every leg: Halftime offers none of its lower modes.
    """
    tf32 = precision.fp32_precision == "tf32"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    for backend in _accelerated():
        backend.fp32_precision = precision.fp32_precision
    for backend in _onednn():
        backend.fp32_precision = "ieee"
    for name, allowed in ACCUMULATION.items():
        setattr(torch.backends.cuda.matmul, name, allowed)


def read_flags() -> dict[str, str]:
    """Returns the current value of every switch."""
    backends = zip(FLAGS, _accelerated() + _onednn(), strict=True)
    flags = {name: str(backend.fp32_precision) for name, backend in backends}
    return flags | {f"cuda.matmul.{name}": str(getattr(torch.backends.cuda.matmul, name)) for name in ACCUMULATION}


def environment_overrides() -> dict[str, str]:
    """Returns the environment variables that are set and override the switches or invalidate figures."""
    active = {name for name in (*OVERRIDES, NO_CACHING) if name in os.environ}
    if os.environ.get(LAUNCH_BLOCKING, "0").strip() not in {"", "0"}:
        active.add(LAUNCH_BLOCKING)
    return {name: os.environ[name] for name in sorted(active)}


def recorded_environment() -> dict[str, str]:
    """Returns the environment variables that CUDA, its libraries or torch may read, without secrets."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(RECORDED) and not SECRET_NAME.search(name) and not SECRET_VALUE.search(value)
    }


def multiplies_matrices(module: nn.Module) -> bool:
    """Whether a module multiplies matrices."""
    kind = type_before_parametrizations(module)
    return isinstance(module, MATMUL_MODULES) or (kind.__module__, kind.__name__) == TRANSPOSED_LINEAR


class DtypeWatch:
    """Records the output dtypes of matrix-multiplying modules in forward passes while it is open."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._seen: dict[str, set[str]] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> "DtypeWatch":
        for module in self.model.modules():
            if multiplies_matrices(module):
                self._handles.append(module.register_forward_hook(self._note))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def seen(self) -> dict[str, list[str]]:
        """Returns the dtypes by class name of the module."""
        return {kind: sorted(dtypes) for kind, dtypes in sorted(self._seen.items())}

    def _note(self, module: nn.Module, _: object, output: object) -> None:
        if not isinstance(output, torch.Tensor):  # a router derived from a linear layer returns more than its product
            return
        if torch._C._current_graph_task_id() != NO_BACKWARD:  # a pass recomputed there may be outside autocast
            return
        self._seen.setdefault(type_before_parametrizations(module).__name__, set()).add(
            str(output.dtype).removeprefix("torch.")
        )


def _dtype(name: str) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _accelerated() -> list[Any]:
    return [torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn]  # type: ignore[attr-defined]


def _onednn() -> list[Any]:
    return [torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv, torch.backends.mkldnn.rnn]  # type: ignore[attr-defined]
