"""Whether torch.compile has the compiler that it needs: found without torch, which a worker does not load."""

import os
import shutil
import sysconfig
from pathlib import Path

from halftime.contract.precisions import DeviceKind

#: The variable that sets the compiler, and the defaults: Inductor compiles C++ for a CPU, and Triton compiles the
#: kernel launcher in C (triton/runtime/build.py). Both build Python extension modules.
COMPILERS: dict[DeviceKind, tuple[str, tuple[str, ...]]] = {"cpu": ("CXX", ("g++",)), "cuda": ("CC", ("gcc", "clang"))}


def why_no_compiler(device: DeviceKind) -> str | None:
    """What torch.compile lacks on this machine and how to provide it; None if it lacks nothing."""
    variable, names = COMPILERS[device]
    wanted = (os.environ[variable],) if variable in os.environ else names
    if not any(map(shutil.which, wanted)):
        return (
            f"torch.compile needs a compiler, and the worker has no {' or '.join(wanted)}. Install one (Debian: "
            f"apt-get install g++), set {variable} to one, or set compile to null."
        )
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        return (
            f"torch.compile needs Python's headers, and the worker has no {header}. Install them (Debian: apt-get "
            "install python3-dev), or set compile to null."
        )
    return None
