"""Says where training failed: the leg, the stage, the step and the module, from an exception's traceback.

Nothing is noted while training runs, so the measured steps are free of it.
"""

import inspect
import traceback
from collections.abc import Sequence
from types import CodeType, FrameType

import torch
from torch import nn

from halftime.contract.report.failure import Failure, FailureCode
from worker.messages import TrialSpec
from worker.proof.precision_support import NO_KERNEL
from worker.tasks.plugin import PluginTask
from worker.training.loop import add_gradients, train, training_step, validate

#: Most characters of an error's message that a failure quotes.
MAX_REASON_CHARACTERS = 500

#: Messages of CUDA, its libraries and Triton, which fail on a faulty device; torch's own errors of CUDA have a class.
DEVICE_ERRORS = (
    "CUDA error",
    "CUDA driver error",
    "Triton Error [CUDA]",
    "cuDNN error",
    "cuFFT error",
    "CUBLAS_STATUS_",
    "CUSOLVER_STATUS_",
    "CUSPARSE_STATUS_",
)

#: Prefix that torch.compile's wrapper puts before the names of a model's modules.
COMPILED = "_orig_mod."

TRAIN, VALIDATE = train.__code__, inspect.unwrap(validate).__code__

#: Stages by the function that runs them. The innermost one in a traceback counts: they call each other.
STAGES: dict[CodeType, str] = {
    training_step.__code__: "optimizer",
    add_gradients.__code__: "forward pass",
    torch.autograd.backward.__code__: "backward pass",
    VALIDATE: "validation",
}


def training_failure(error: Exception, spec: TrialSpec, steps_done: int) -> Failure | None:
    """Returns the failure of an error that training or validation raised, and would raise again.

    None for an error of the device, or of anything else in a trial.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    called = [frame.f_code for frame in frames]
    stages = [STAGES[code] for code in called if code in STAGES]
    if not stages or not {TRAIN, VALIDATE} & set(called) or _is_device_error(error):
        return None
    text = " ".join(str(error).split())[:MAX_REASON_CHARACTERS]
    step = "" if stages[-1] == "validation" else f" of step {steps_done + 1}"
    where = _in_module(frames) or _in_method(frames)
    return Failure.of(
        FailureCode.TRAINING_FAILED,
        f"{spec.leg}: the {stages[-1]}{step} failed{where}. {type(error).__name__}: {text}"
        f"{_without_kernel(text, spec)}",
    )


def _is_device_error(error: Exception) -> bool:
    return isinstance(error, torch.AcceleratorError) or any(words in str(error) for words in DEVICE_ERRORS)


def _in_module(frames: Sequence[FrameType]) -> str:
    """Names the innermost module that was being called; empty if there is none, as in a backward pass."""
    modules = [module for frame in frames if isinstance(module := frame.f_locals.get("self"), nn.Module)]
    if not modules:
        return ""
    names = {module: name.removeprefix(COMPILED) for name, module in modules[0].named_modules()}
    kind = type(modules[-1]).__name__
    name = names.get(modules[-1])
    return f" in {name} ({kind})" if name else f" in {kind}"


def _in_method(frames: Sequence[FrameType]) -> str:
    """Names the method of a plugin's task that was being called; empty if there is none."""
    for frame in frames:
        if isinstance(task := frame.f_locals.get("self"), PluginTask):
            return f" in `{frame.f_code.co_name}` of the task of plugin {task.plugin!r}"
    return ""


def _without_kernel(text: str, spec: TrialSpec) -> str:
    """Says what to do where torch lacks a kernel; empty if the error is another one."""
    if not any(words in text for words in NO_KERNEL):
        return ""
    return (
        f" torch has no kernel for this operation in {spec.precision} on this device. Compare another precision, or "
        "replace the layer."
    )
