"""Whether torch has code for a GPU, and why it has no CUDA at all."""

import re
from collections.abc import Sequence

import torch

REASON_CHARACTERS = 300
INSTALL = "https://pytorch.org/get-started/locally/"


def missing_code(device: torch.device) -> str | None:
    """What to do about a GPU that torch was built without code for; None where it has some."""
    built_for = torch.cuda.get_arch_list()
    if not built_for or has_code(built_for, torch.cuda.get_device_capability(device)):
        return None
    major, minor = torch.cuda.get_device_capability(device)
    return (
        f"This torch ({torch.__version__}) was built for {' '.join(built_for)} and has no code for "
        f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor}. Install a build with "
        f"sm_{major}{minor}, for an older GPU one of an older CUDA such as cu126 ({INSTALL})."
    )


def has_code(built_for: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether one of the architectures, as `torch.cuda.get_arch_list()` names them, runs on a GPU of this capability.

    Binary code (`sm_80`) runs on the same major version from its minor version on; PTX (`compute_80`) is compiled by
    the driver for anything as new or newer. Of those for one architecture alone (`sm_90a`), or for one family
    (`sm_100f`), neither goes beyond it (CUDA C++ Programming Guide, "Binary Compatibility", "PTX Compatibility").
    """
    return any(_runs_on(architecture, capability) for architecture in built_for)


def why_unavailable() -> str:
    """What CUDA says where `torch.cuda.is_available()` is false, of an old driver for one; empty for nothing."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call] # torch leaves it without annotations
    except (RuntimeError, AssertionError) as error:
        return first_line(error)
    return ""


def first_line(error: BaseException) -> str:
    """The rest of what torch says is advice for developers of kernels."""
    return str(error).split("\n", maxsplit=1)[0][:REASON_CHARACTERS].rstrip(". ")


def _runs_on(architecture: str, capability: tuple[int, int]) -> bool:
    named = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", architecture)
    if named is None:
        return False
    kind, built_for, only = named[1], (int(named[2]), int(named[3])), named[4]
    if only == "a":
        return capability == built_for
    if kind == "compute" and not only:
        return capability >= built_for
    return capability[0] == built_for[0] and capability[1] >= built_for[1]
