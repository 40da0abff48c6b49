"""CUDA as far as it goes without a GPU: tensors on `cuda:0` that have shapes, dtypes and gradients, and no values.

Torch's `FakeTensorMode` makes such tensors. Its autograd asks CUDA for streams and events none the less; a small
library answers in CUDA's place. It has to be loaded before torch, and stays: a process that did this is good for
nothing else.
"""

import ctypes
import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".cpp")

#: Compiles what torch's headers want.
COMPILER = "g++"


def can_be_built():
    """Whether there is a compiler."""
    return shutil.which(COMPILER) is not None


def load():
    """Builds the library, and loads it in CUDA's place. To be called before torch is imported."""
    torch_folder = Path(importlib.util.find_spec("torch").submodule_search_locations[0])
    libraries = torch_folder / "lib"
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "driverless_cuda.so")
        command = [
            COMPILER,
            "-shared",
            "-fPIC",
            "-O0",
            "-std=c++20",
            "-I",
            torch_folder / "include",
            SOURCE,
            "-o",
            made,
        ]
        command += ["-L", libraries, "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{libraries}"]
        subprocess.run(command, check=True)
        ctypes.CDLL(str(made), ctypes.RTLD_GLOBAL)


class Event:
    """Takes a millisecond to the next."""

    def __init__(self, enable_timing=False):
        assert enable_timing

    def record(self):
        pass

    def elapsed_time(self, end):
        return 1.0


def answer():
    """Replaces what `torch.cuda` would ask the driver."""
    import torch

    answers = {
        "is_available": True,
        "is_bf16_supported": True,
        "synchronize": None,
        "set_sync_debug_mode": None,
        "get_sync_debug_mode": 0,
        "max_memory_allocated": 2**20,
        "max_memory_reserved": 2**21,
        "reset_peak_memory_stats": None,
    }
    for name, value in answers.items():
        setattr(torch.cuda, name, lambda *_, value=value, **__: value)
    torch.cuda.Event = Event
    for name in FUSED_STEPS:
        _steps.append(torch.library.Library("aten", "IMPL", "Meta"))
        _steps[-1].impl(f"{name}.tensor_lr", _step, allow_override=True)


#: Steps of optimizers that torch has no shapes for where the learning rate is a tensor, as it is in fused ones here.
FUSED_STEPS = ("_fused_adam_", "_fused_adamw_", "_fused_sgd_")
_steps = []  # torch forgets what nobody holds


def _step(parameters, gradients, *state, lr=None, **_):
    """Notifications what it is given, and no shapes: but every parameter has a gradient and a state like itself."""
    lists = [values for values in state if isinstance(values, list) and values and values[0].dim()]
    for like in (gradients, *lists):
        assert [value.shape for value in like] == [parameter.shape for parameter in parameters]
        assert {value.dtype for value in like} == {parameter.dtype for parameter in parameters}


def fake_mode():
    """Torch's mode of tensors without values, which is to copy nothing to a device though one seems to be there."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    class Driverless(FakeTensorMode):
        avoid_device_init = True

    return Driverless(allow_non_fake_inputs=True)
