"""Whether torch was built for a GPU's architecture, and why CUDA is unavailable."""

import re
from collections.abc import Sequence

import torch

REASON_CHARACTERS = 300
INSTALL = "https://pytorch.org/get-started/locally/"


def missing_code(device: torch.device) -> str | None:
    """Returns the problem and its remedy if torch has no code for the GPU; None if it has."""
    built_for = torch.cuda.get_arch_list()
    if not built_for or has_code(built_for, torch.cuda.get_device_capability(device)):
        return None
    major, minor = torch.cuda.get_device_capability(device)
    return (
        f"torch {torch.__version__} was built for {' '.join(built_for)} and does not support "
        f"{torch.cuda.get_device_name(device)} (compute capability {major}.{minor}). Install a build with "
        f"sm_{major}{minor}; older GPUs need a build for an older CUDA, such as cu126 ({INSTALL})."
    )


def has_code(built_for: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether code for one of the architectures in `torch.cuda.get_arch_list()` runs on this compute capability.

    Binary code (`sm_80`) runs on the same major version from its minor version on; PTX (`compute_80`) is compiled by
    the driver for the same or any newer version. Code for one architecture (`sm_90a`) or one family (`sm_100f`) runs
    only there (CUDA C++ Programming Guide, "Binary Compatibility", "PTX Compatibility").
    """
    return any(_runs_on(architecture, capability) for architecture in built_for)


def why_unavailable() -> str:
    """CUDA's reason why `torch.cuda.is_available()` is false, such as an old driver; empty if it gives none."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call] # torch leaves it without annotations
    except (RuntimeError, AssertionError) as error:
        return first_line(error)
    return ""


def first_line(error: BaseException) -> str:
    """First line of torch's error message; the others are debugging advice for kernel developers."""
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
