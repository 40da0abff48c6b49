"""torch.compile of a model: every trial from an empty cache, what it took, and whether it happened again."""

import contextlib
import os
import shutil
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torch._dynamo.utils import calculate_time_spent, counters

from halftime.contract.report.failure import FailureCode
from halftime.contract.report.trial import Compilation
from halftime.contract.request.training import CompileConfig
from worker.errors import TrialFailed, is_out_of_memory

#: Where Inductor and Triton keep what they compiled.
CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")

#: The variable that names a compiler, and those that are taken without it: Inductor compiles C++ for a CPU, and Triton
#: compiles what launches a kernel in C (triton/runtime/build.py). Both make modules of Python.
COMPILERS = {"cpu": ("CXX", ("g++",)), "cuda": ("CC", ("gcc", "clang"))}

#: What to do about a folder for temporary files that is of no use.
OF_TMP = (
    "Mount one that allows it (docker run --tmpfs /tmp:exec; compose: tmpfs: /tmp:exec; Kubernetes: an emptyDir at "
    "/tmp), name another in TMPDIR, or set it to null."
)


@contextlib.contextmanager
def fresh_compiler(settings: CompileConfig | None, device: torch.device) -> Iterator[None]:
    """Inside, torch.compile starts from nothing; what it leaves behind is removed.

    Raises TrialFailed (`invalid_model`) where there is no compiler, or no folder from which what it makes can be
    loaded, or what is compiled inside does not compile.
    """
    if settings is None:
        yield
        return
    _require_compiler(device)
    before = {name: os.environ.get(name) for name in CACHES}
    with _new_folder() as cache:
        _require_exec(cache)
        os.environ |= {name: str(Path(cache, name.lower())) for name in CACHES}
        torch.compiler.reset()
        counters.clear()
        try:
            yield
        except TorchDynamoException as error:
            if is_out_of_memory(error):  # while it tried kernels
                raise
            raise TrialFailed.because(
                FailureCode.INVALID_MODEL,
                f"compile: torch.compile cannot compile the model: {_first_lines(error)} The benchmark's logs have the "
                "traceback. Set it to null.",
            ) from error
        finally:
            torch.compiler.reset()
            for name, value in before.items():
                os.environ.pop(name)
                os.environ |= {} if value is None else {name: value}


def compiled(model: nn.Module, settings: CompileConfig, backend: str = "inductor") -> Callable[[Tensor], Tensor]:
    """What calls the model, compiled in its first call. The model itself stays as it is, and shares its weights."""
    mode = None if settings.mode == "default" else settings.mode
    forward: Callable[[Tensor], Tensor] = torch.compile(model, fullgraph=settings.fullgraph, mode=mode, backend=backend)
    return forward


class CompileWatch:
    """Reads torch's own counters at the boundaries of the loop."""

    def __init__(self) -> None:
        self._first_frames = self._warm_frames = 0

    def after_first_step(self) -> None:
        """What is compiled later was compiled before, or is no step like the first."""
        self._first_frames = _frames()

    def before_measured(self) -> None:
        """What is compiled from here on is in measured time."""
        self._warm_frames = _frames()

    def result(self, settings: CompileConfig | None) -> Compilation | None:
        """After the loop; None where nothing was to be compiled."""
        if settings is None:
            return None
        return Compilation(
            mode=settings.mode,
            compile_seconds=calculate_time_spent()["total_wall_time"],
            graphs=counters["stats"]["unique_graphs"],
            graph_breaks=sum(counters["graph_break"].values()),
            recompiles=_frames() - self._first_frames,
            recompiles_in_measured_steps=_frames() - self._warm_frames,
        )


def remove_caches(pid: int) -> None:
    """Of a process that was killed before it could do so itself."""
    for cache in Path(tempfile.gettempdir()).glob(f"{_prefix(pid)}*"):
        shutil.rmtree(cache, ignore_errors=True)


def _frames() -> int:
    """Python frames compiled so far, every recompilation counted."""
    return counters["frames"]["ok"]


def _prefix(pid: int) -> str:
    return f"halftime-compile-{pid}-"


def _new_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix=_prefix(os.getpid()), ignore_cleanup_errors=True)
    except OSError as error:
        raise TrialFailed.because(
            FailureCode.INVALID_MODEL,
            f"compile: torch.compile needs a folder to write to, and the worker has none: {error}. {OF_TMP}",
        ) from error


def _require_exec(folder: str) -> None:
    """What is compiled is loaded from there as a library, which a file system mounted `noexec` refuses."""
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        raise TrialFailed.because(
            FailureCode.INVALID_MODEL,
            f"compile: torch.compile loads what it makes, and {Path(folder).parent} is mounted noexec. {OF_TMP}",
        )


def _require_compiler(device: torch.device) -> None:
    variable, names = COMPILERS[device.type]
    wanted = [os.environ[variable]] if variable in os.environ else list(names)
    if not any(map(shutil.which, wanted)):
        raise TrialFailed.because(
            FailureCode.INVALID_MODEL,
            f"compile: torch.compile needs a compiler, and the worker has no {' or '.join(wanted)}. Install one "
            f"(Debian: apt-get install g++), name one in {variable}, or set it to null.",
        )
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        raise TrialFailed.because(
            FailureCode.INVALID_MODEL,
            f"compile: torch.compile needs Python's headers, and the worker has no {header}. Install them (Debian: "
            "apt-get install python3-dev), or set it to null.",
        )


def _first_lines(error: BaseException) -> str:
    return " ".join(str(error).split("\n\n", maxsplit=1)[0].split())[:500]
