"""Compiles a model with torch.compile, as a rule from an empty cache, and records time and recompilations."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from halftime.contract.report.failure import FailureCode
from halftime.contract.report.trial import Compilation
from halftime.contract.request.training import CompileConfig
from worker.device.compiler_caches import new_cache
from worker.errors import TrialFailed
from worker.errors.out_of_memory import is_out_of_memory
from worker.training.compilers import why_no_compiler

#: Variables that set the cache folders of Inductor and Triton.
CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")

#: Remedy for an unusable folder for temporary files.
TMP_REMEDY = (
    "Mount a writable /tmp with exec (docker run --tmpfs /tmp:exec; compose: tmpfs: /tmp:exec; Kubernetes: an emptyDir "
    "at /tmp), set TMPDIR to another folder, or set compile to null."
)


@contextlib.contextmanager
def compiler_with_cache(
    settings: CompileConfig | None, device: torch.device, shared: str | None = None
) -> Iterator[None]:
    """Gives torch.compile a cache for the duration of the block: an empty one, removed afterwards, or a shared one.

    Raises TrialFailed (`invalid_model`) when there is no compiler or no folder to load compiled libraries from, or
    when the model does not compile.
    """
    if settings is None:
        yield
        return
    _require_compiler(device)
    from torch._dynamo.exc import TorchDynamoException  # noqa: PLC0415

    before = {name: os.environ.get(name) for name in CACHES}
    with contextlib.nullcontext(shared) if shared else _new_cache() as cache:
        _require_exec(cache)
        os.environ |= {name: str(Path(cache, name.lower())) for name in CACHES}
        torch.compiler.reset()
        _counters().clear()
        try:
            yield
        except TorchDynamoException as error:
            if is_out_of_memory(error):  # during autotuning
                raise
            raise TrialFailed.because(
                FailureCode.INVALID_MODEL,
                f"compile: torch.compile cannot compile the model: {_first_lines(error)} See the benchmark's logs for "
                "the traceback, or set compile to null.",
            ) from error
        finally:
            torch.compiler.reset()
            for name, value in before.items():
                os.environ.pop(name)
                os.environ |= {} if value is None else {name: value}


def compiled(model: nn.Module, settings: CompileConfig, backend: str = "inductor") -> Callable[[Tensor], Tensor]:
    """Returns a function that calls the model, compiled at its first call. The model itself is unchanged."""
    mode = None if settings.mode == "default" else settings.mode
    forward: Callable[[Tensor], Tensor] = torch.compile(model, fullgraph=settings.fullgraph, mode=mode, backend=backend)
    return forward


class CompileWatch:
    """Reads torch's compilation counters at boundaries of the loop."""

    def __init__(self) -> None:
        self._first_frames = self._warm_frames = 0

    def after_first_step(self) -> None:
        """Notes the counter: later compilations are recompilations."""
        self._first_frames = _frames()

    def before_measured(self) -> None:
        """Notes the counter: later compilations are part of the measured time."""
        self._warm_frames = _frames()

    def result(self, settings: CompileConfig | None) -> Compilation | None:
        """Returns the record after the loop; None without compilation."""
        if settings is None:
            return None
        from torch._dynamo.utils import calculate_time_spent  # noqa: PLC0415

        counters = _counters()
        return Compilation(
            mode=settings.mode,
            compile_seconds=calculate_time_spent()["total_wall_time"],
            graphs=counters["stats"]["unique_graphs"],
            graph_breaks=sum(counters["graph_break"].values()),
            recompiles=_frames() - self._first_frames,
            recompiles_in_measured_steps=_frames() - self._warm_frames,
        )


def _frames() -> int:
    """Number of Python frames compiled so far, including recompilations."""
    return _counters()["frames"]["ok"]


def _counters() -> dict[str, Counter[str]]:
    """torch's counts of what it compiled, by group and name."""
    from torch._dynamo.utils import counters  # noqa: PLC0415 # loads the compiler, which a worker has no use for

    return counters


def _new_cache() -> contextlib.AbstractContextManager[str]:
    try:
        return new_cache()
    except OSError as error:
        raise TrialFailed.because(
            FailureCode.INVALID_MODEL,
            f"compile: torch.compile needs a writable temporary folder, and the worker has none: {error}. {TMP_REMEDY}",
        ) from error


def _require_exec(folder: str) -> None:
    """Raises TrialFailed if the folder is mounted `noexec`: compiled libraries cannot be loaded from there."""
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        raise TrialFailed.because(
            FailureCode.INVALID_MODEL,
            f"compile: torch.compile cannot load libraries from {Path(folder).parent}, mounted noexec. {TMP_REMEDY}",
        )


def _require_compiler(device: torch.device) -> None:
    why = why_no_compiler("cuda" if device.type == "cuda" else "cpu")
    if why is not None:
        raise TrialFailed.because(FailureCode.INVALID_MODEL, f"compile: {why}")


def _first_lines(error: BaseException) -> str:
    return " ".join(str(error).split("\n\n", maxsplit=1)[0].split())[:500]
