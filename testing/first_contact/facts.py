"""Facts about the machine, and about the device as torch sees it."""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import torch

from testing.first_contact.lines import Fact
from testing.first_contact.processes import Observer
from worker.device import nvml, other_processes

#: Environment variables that numeric libraries read.
PREFIXES = ("CUDA", "CUBLAS", "CUDNN", "NCCL", "NVIDIA", "TORCH", "PYTORCH", "TRITON", "OMP", "MKL", "ONEDNN", "ATEN")
#: Parts of a variable's name that mark it as a secret.
SECRETS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "AUTH")

COMPILERS = ("gcc", "g++", "clang", "cc", "c++", "nvcc")

#: Queries without names of other users' programs and without serial numbers.
SECTIONS = "MEMORY,UTILIZATION,ECC,TEMPERATURE,POWER,CLOCK,COMPUTE,PERFORMANCE,PAGE_RETIREMENT,ROW_REMAPPER"
COMMANDS = (("nvidia-smi", "-q", "-d", SECTIONS), ("nvidia-smi", "topo", "-m"), ("nvcc", "--version"))

COMMAND_SECONDS = 10.0
MOST_CHARACTERS = 12_000

#: Kernel files to record, and the number of lines of each.
FILES = {"/proc/meminfo": 5, "/proc/version": 1, "/sys/fs/cgroup/memory.max": 1, "/sys/fs/cgroup/cpu.max": 1}


def machine_facts(device: str) -> Iterator[Fact]:
    """Record what is known without using the device."""
    yield Fact(name="python", value=sys.version)
    yield Fact(name="platform", value=platform.platform())
    yield Fact(name="cores", value=f"{os.cpu_count()}, of them allowed {len(os.sched_getaffinity(0))}")
    yield Fact(name="cpu", value=_cpu())
    yield Fact(name="torch", value=f"{torch.__version__}, CUDA {torch.version.cuda}")
    yield Fact(name="torch threads", value=str(torch.get_num_threads()))
    yield Fact(name="Python.h", value=_python_header())
    yield Fact(name="workable devices", value=str(nvml.available_devices()))
    yield Fact(name="driver", value=str(nvml.driver_version()))
    yield Fact(name="on the device before anything ran", value=str(other_processes.query_usage(device)))
    for compiler in COMPILERS:
        yield Fact(name=compiler, value=_version(compiler))
    for name, value in sorted(environment(os.environ).items()):
        yield Fact(name=f"environment {name}", value=value)
    for path, lines in FILES.items():
        yield Fact(name=path, value=_head(Path(path), lines))
    for command in COMMANDS:
        yield Fact(name=" ".join(command), value=_output(*command))


def environment(variables: "os._Environ[str] | dict[str, str]") -> dict[str, str]:
    """Variables that numeric libraries read; of a secret, only that it is set."""
    numeric = {name: value for name, value in variables.items() if name.startswith(PREFIXES)}
    return {
        name: "(set)" if any(word in name.upper() for word in SECRETS) else value for name, value in numeric.items()
    }


def observe_device(observer: Observer) -> None:
    """Record what torch reports about the device, with a context on it."""
    say = {"capabilities of the CPU": torch.backends.cpu.get_cpu_capability(), "build": torch.__config__.show()}
    if observer.on_cuda:
        torch.cuda.set_device(observer.device)
        free, total = torch.cuda.mem_get_info(observer.device)
        say |= {
            "properties": str(torch.cuda.get_device_properties(observer.device)),
            "architectures of the build": str(torch.cuda.get_arch_list()),
            "cuDNN": str(torch.backends.cudnn.version()),
            "allocated at the start": str(torch.cuda.memory_allocated(observer.device)),
            "free and total bytes": f"{free} {total}",
            "attention kernels": _attention_kernels(),
        }
    for name, value in say.items():
        observer.write(Fact(name=name, value=value))


def _attention_kernels() -> str:
    cuda = torch.backends.cuda
    enabled = {
        "flash": cuda.flash_sdp_enabled(),
        "memory-efficient": cuda.mem_efficient_sdp_enabled(),
        "cuDNN": cuda.cudnn_sdp_enabled(),
        "math": cuda.math_sdp_enabled(),
    }
    return ", ".join(name for name, is_enabled in enabled.items() if is_enabled)


def _cpu() -> str:
    """CPU model and its half-precision features."""
    lines = _head(Path("/proc/cpuinfo"), 40).splitlines()
    known = dict(line.split(":", maxsplit=1) for line in lines if ":" in line)
    named = {name.strip(): value.strip() for name, value in known.items()}
    flags = [flag for flag in named.get("flags", "").split() if flag.startswith(("avx", "amx", "f16c"))]
    return f"{named.get('model name', platform.processor())}: {' '.join(flags)}"


def _python_header() -> str:
    """Python's header, which Triton needs for compiling."""
    path = Path(sysconfig.get_path("include"), "Python.h")
    return f"{path}: {'there' if path.exists() else 'missing'}"


def _version(program: str) -> str:
    path = shutil.which(program)
    return "not found" if path is None else f"{path}: {_output(path, '--version').splitlines()[:1]}"


def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "not found"
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    return (ran.stdout + ran.stderr)[:MOST_CHARACTERS]


def _head(path: Path, lines: int) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[:lines])
    except OSError as error:
        return f"{type(error).__name__}: {error}"
