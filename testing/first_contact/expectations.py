"""Expectations on the lines of a record; a deviation shows a fault in Halftime or in its assumptions about GPUs."""

from collections.abc import Callable, Iterator, Sequence

from halftime.contract.report.trial import NEAR_ZERO_BYTES, Memory, TrialResult
from testing.first_contact.lines import (
    Begun,
    Ceiling,
    Fact,
    Line,
    NeighbourLine,
    ProbeError,
    ReportLine,
    Switches,
    TrialLine,
    Waits,
)
from worker.report.attestation import achieved_flops_per_second
from worker.report.warnings.weights import MIN_EXPLAINED_ERROR
from worker.training.precision_facts import FACTS, LARGEST_FP32_ERROR, expected_flags

#: Smallest error of a TF32 product against FP64: IEEE FP32 is more accurate.
LEAST_TF32_ERROR = LARGEST_FP32_ERROR

#: Largest accepted ratio of ceilings of one precision, on a GPU: a CPU is shared with other programs.
REPEATABLE = 1.15

#: Expected failure of edge-case trials, by label.
EXPECTED_FAILURES = {"out of memory": "out_of_memory", "memory limit": "out_of_memory"}

#: Trials whose optimizer implementation itself reads values from the device.
WAITING_TRIALS = frozenset({"adafactor", "sgd foreach"})

#: Failures that are faults neither of Halftime nor of the device.
ALLOWED_FAILURES = frozenset({"unsupported_precision", "timeout"})


def unmet(lines: Sequence[Line]) -> list[str]:
    """Every expectation that a record does not meet, in words."""
    return [complaint for check in CHECKS for complaint in check(lines)]


def _on_cuda(lines: Sequence[Line]) -> bool:
    return any(isinstance(line, Begun) and line.device != "cpu" for line in lines)


def _health(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if isinstance(line, Fact) and line.name == "faults of the device" and line.value != "none":
            yield f"health: {line.value}"


def _switches(lines: Sequence[Line]) -> Iterator[str]:
    read = [line for line in lines if isinstance(line, Switches)]
    for line in read:
        if line.flags != expected_flags(FACTS[line.precision]):
            yield f"switches: {line.precision} reads back {line.flags}"
    raised = [(reader, answer, one.precision) for one in read for reader, answer in one.legacy.items()]
    for reader, answer in dict.fromkeys((reader, answer) for reader, answer, _ in raised if "Error: " in answer):
        precisions = [precision for *same, precision in raised if same == [reader, answer]]
        yield f"switches: {reader} raises under {', '.join(precisions)}: {answer}"


def _probes(lines: Sequence[Line]) -> Iterator[str]:
    probes = [line for line in lines if isinstance(line, ProbeError)]
    for line in probes:
        low, high = FACTS[line.precision].error_range
        where = f"probes: {line.precision}: {line.operation} of {line.of}"
        if line.relative_error is None:
            yield f"{where}: {line.error or 'the error is not finite'}"
        elif line.relative_error > high:
            yield f"{where}: relative error {line.relative_error:.1e}, more than {high:g}"
        elif line.precision in {"fp16", "bf16"} and line.relative_error < low:
            error = f"relative error {line.relative_error:.1e}, less than {low:g}"
            yield f"{where}: {error}: not computed in {line.precision}"
    errors = [line.relative_error or 0.0 for line in probes if line.precision == "tf32"]
    if errors and max(errors) < LEAST_TF32_ERROR:
        yield f"probes: tf32: no operation used it; the largest error is {max(errors):.1e}"


def _ceilings(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if not isinstance(line, Ceiling):
            continue
        known = [value for value in line.flops_per_second if value]
        if len(known) < len(line.flops_per_second):
            yield f"ceilings: {line.precision}: a measurement failed"
        elif known and _on_cuda(lines) and max(known) > REPEATABLE * min(known):
            yield f"ceilings: {line.precision}: from {min(known) / 1e12:.3g} to {max(known) / 1e12:.3g} TFLOP/s"


def _waits(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if isinstance(line, Waits) and line.torch_saw is not None and bool(line.torch_saw) != bool(line.watch_saw):
            case = f"waits: {line.model} {line.precision} {line.optimizer}"
            yield f"{case}: torch found {line.torch_saw or 'none'}, our check {line.watch_saw or 'none'}"


def _trials(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if not isinstance(line, TrialLine):
            continue
        where, expected = f"{line.stage}: {line.label}", EXPECTED_FAILURES.get(line.label)
        if line.failure is not None:
            if line.failure.code not in {expected, *ALLOWED_FAILURES}:
                yield f"{where}: {line.failure.code}: {line.failure.detail}"
        elif expected is not None:
            yield f"{where}: expected the failure {expected}, but it succeeded"
        elif line.result is not None:
            yield from (f"{where}: {complaint}" for complaint in _result(line.label, line.result))
            if line.logs:
                yield f"{where}: unexpected output {line.logs.splitlines()[-1]!r}"


def _result(label: str, result: TrialResult) -> Iterator[str]:
    """Unmet expectations on any trial that succeeded; then those on the trial with this label."""
    dtype = FACTS[result.precision].matmul_dtype_name
    for probe in result.attestation.probes:
        if not probe.ok:
            yield f"{probe.name}: expected {probe.expected}, observed {probe.observed}"
    for kind, dtypes in result.attestation.forward_dtypes.items():
        if dtypes != [dtype]:
            yield f"{kind} outputs {', '.join(dtypes)}, not {dtype}"
    for what, why in result.not_examined.items():
        yield f"{what} is missing: {why}"
    yield from _memory(result.memory)
    if result.synchronisations and label not in WAITING_TRIALS:
        yield f"a step waits: {', '.join(result.synchronisations)}"
    yield from _numerics(result)
    yield from _gpu(label, result)
    yield from EDGES[label](result) if label in EDGES else ()


def _memory(memory: Memory | None) -> Iterator[str]:
    if memory is None:
        return
    if (memory.start_bytes or 0) > NEAR_ZERO_BYTES:
        yield f"{memory.start_bytes} bytes are allocated at its start"
    if memory.breakdown is not None and memory.breakdown.total_bytes() != memory.peak_bytes:
        yield "the parts of the memory peak do not add up to it"


def _throughput(lines: Sequence[Line]) -> Iterator[str]:
    """Trials that did more than the best ceiling measured anywhere for their precision."""
    trials = [(line, line.result) for line in lines if isinstance(line, TrialLine) and line.result]
    ceilings = [
        (line.precision, value) for line in lines if isinstance(line, Ceiling) for value in line.flops_per_second
    ]
    ceilings += [(result.precision, result.ceiling_flops_per_second) for _, result in trials]
    for line, result in trials:
        best = max((value for precision, value in ceilings if precision == result.precision and value), default=0.0)
        achieved = achieved_flops_per_second(result)
        if achieved is not None and achieved > best:
            figures = f"{achieved / 1e12:.3g} TFLOP/s are more than the ceiling of {best / 1e12:.3g}"
            yield f"{line.stage}: {line.label}: {figures}"


def _numerics(result: TrialResult) -> Iterator[str]:
    numerics = result.numerics
    if numerics and numerics.gradient_relative_rmse is not None and numerics.explained_relative_rmse is not None:
        bound = FACTS[result.precision].max_error_ratio * max(numerics.explained_relative_rmse, MIN_EXPLAINED_ERROR)
        if numerics.gradient_relative_rmse > bound:
            error = f"{numerics.gradient_relative_rmse:.1e}"
            yield f"the gradient's relative error is {error}; rounding explains at most {bound:.1e}"


def _gpu(label: str, result: TrialResult) -> Iterator[str]:
    """Unmet expectations on GPU telemetry."""
    if result.memory is None or not result.memory.source.startswith("cuda"):
        return
    gpu = result.telemetry.gpu
    if gpu is None:
        yield "GPU telemetry is missing"
        return
    absent = [name for name in ("sm_clock_mhz", "power_watts", "largest_used_bytes") if getattr(gpu, name) is None]
    if absent:
        yield f"telemetry lacks {', '.join(absent)}"
    if gpu.foreign_processes and label != "neighbour":
        yield f"foreign processes computed on the device: {', '.join(gpu.foreign_processes)}"


def _overflow(result: TrialResult) -> Iterator[str]:
    scaler = result.grad_scaler
    if scaler is None or not scaler.skipped_steps:
        yield "no step was skipped"
    elif result.applied_steps == 0:
        yield "the loss scale did not recover"
    elif not scaler.first_overflow:
        yield "the first overflow was not located"


def _deterministic(result: TrialResult) -> Iterator[str]:
    if not result.deterministic:
        yield "kernels were not deterministic"


def _compiled(result: TrialResult) -> Iterator[str]:
    compilation = result.compilation
    if compilation is None or not compilation.graphs:
        yield "nothing was compiled"
    elif compilation.recompiles_in_measured_steps:
        yield f"{compilation.recompiles_in_measured_steps} recompilations in measured steps"


def _loaded(result: TrialResult) -> Iterator[str]:
    if result.data_wait_seconds is None:
        yield "its data wait time is missing"


EDGES: dict[str, Callable[[TrialResult], Iterator[str]]] = {
    "overflow": _overflow,
    "deterministic": _deterministic,
    "compiled": _compiled,
    "compiled tf32": _compiled,
    "CUDA graphs": _compiled,
    "loader": _loaded,
}


def _reports(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if isinstance(line, ReportLine):
            yield from (f"comparison: {check}" for check in line.failed_checks)


def _other_processes(lines: Sequence[Line]) -> Iterator[str]:
    """Unmet expectations on the neighbour: the trial and the list of processes must contain its process id."""
    for line in lines:
        if not isinstance(line, NeighbourLine):
            continue
        trials = [one for one in lines if isinstance(one, TrialLine) and one.label == "neighbour" and one.result]
        gpus = [one.result.telemetry.gpu for one in trials if one.result and one.result.telemetry.gpu]
        for gpu in gpus:
            if not any(f"process {line.pid}" in process for process in gpu.foreign_processes or []):
                yield f"neighbour: process {line.pid} ran during the trial, which reports {gpu.foreign_processes}"
        if line.seen_after:
            yield f"neighbour: after its end the driver still listed {', '.join(line.seen_after)}"


CHECKS = (_health, _switches, _probes, _ceilings, _waits, _trials, _throughput, _reports, _other_processes)
