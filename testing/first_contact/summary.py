"""Summary of a record for people: one or two screens."""

import statistics
from collections.abc import Iterator, Sequence

from halftime.contract.report.failure import FailureCode
from testing.first_contact.expectations import unmet
from testing.first_contact.lines import (
    Begun,
    Ceiling,
    Ended,
    EnergyUpdates,
    Fact,
    LeftOut,
    Line,
    NvmlAnswers,
    ProbeError,
    ReportLine,
    StageEnded,
    TrialLine,
)

#: Lines shown of a traceback: its last ones, which name the error.
LINES_OF_TRACEBACK = 3

#: Number of unmet expectations shown; the record has all.
MOST_COMPLAINTS = 60


def summary(lines: Sequence[Line]) -> str:
    """Stages, observations, and unmet expectations."""
    parts = [_head(lines), _stages(lines), _seen(lines), _trials(lines), _unexpected(lines)]
    return "\n".join("\n".join(part) + "\n" for part in map(list, parts) if part)


def crashed(lines: Sequence[Line]) -> list[str]:
    """Stages that crashed, and trials that failed with an error of Halftime's own."""
    stages = [line.name for line in lines if isinstance(line, StageEnded) and line.outcome == "crashed"]
    trials = [line for line in lines if isinstance(line, TrialLine) and line.failure is not None]
    return stages + [one.label for one in trials if one.failure and one.failure.code is FailureCode.INTERNAL]


def _head(lines: Sequence[Line]) -> Iterator[str]:
    begun = next((line for line in lines if isinstance(line, Begun)), None)
    ended = next((line for line in lines if isinstance(line, Ended)), None)
    facts = {line.name: line.value for line in lines if isinstance(line, Fact)}
    if begun is None:
        yield "The record lacks its first line."
        return
    took = f"{ended.seconds:.0f} s" if ended else f"cut after {lines[-1].at_seconds:.0f} s"
    yield f"First contact with {begun.device}: {took} of {begun.budget_seconds:.0f} s, {len(lines)} lines."
    yield f"torch {facts.get('torch', 'unknown')}, driver {facts.get('driver', 'unknown')}."
    yield facts.get("properties") or facts.get("cpu") or "The device is unknown."


def _stages(lines: Sequence[Line]) -> Iterator[str]:
    left_out: dict[str, int] = {}
    for line in lines:
        if isinstance(line, LeftOut):
            left_out[line.stage] = left_out.get(line.stage, 0) + len(line.names)
    for line in lines:
        if isinstance(line, StageEnded):
            missing = f", {left_out[line.name]} left out" if line.name in left_out else ""
            reason = f": {_reason(line)}" if line.detail else ""
            yield f"  {line.name:<12}{line.seconds:7.1f} s  {line.outcome}{missing}{reason}"


def _reason(line: StageEnded) -> str:
    error_lines = [one.strip() for one in line.detail.splitlines() if one.strip()]
    return " | ".join(error_lines[-LINES_OF_TRACEBACK:]) if line.outcome == "crashed" else error_lines[0]


def _seen(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if isinstance(line, Ceiling):
            ceilings = " ".join(f"{value / 1e12:.4g}" for value in line.flops_per_second if value)
            yield f"  ceiling {line.precision}: {ceilings} TFLOP/s"
    yield from _probe_errors([line for line in lines if isinstance(line, ProbeError)])
    for line in lines:
        if isinstance(line, EnergyUpdates):
            yield f"  energy: {line.updates_per_second:.1f} updates a second, {line.watts or 0:.0f} W"
    silent = [line.question for line in lines if isinstance(line, NvmlAnswers) and line.error]
    if silent:
        yield f"  NVML has no answer for: {', '.join(silent)}"
    for line in lines:
        if isinstance(line, ReportLine):
            yield f"  comparison: {line.headline}"
            yield f"    {line.checks - len(line.failed_checks)} of {line.checks} checks hold"
            yield from (f"    warning: {warning}" for warning in line.warnings)


def _probe_errors(probes: Sequence[ProbeError]) -> Iterator[str]:
    for precision in dict.fromkeys(line.precision for line in probes):
        errors = [line.relative_error for line in probes if line.precision == precision and line.relative_error]
        if errors:
            yield f"  errors {precision}: {min(errors):.1e} to {max(errors):.1e} over {len(errors)} operations"


def _trials(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if not isinstance(line, TrialLine):
            continue
        if line.result is None:
            text = line.failure.code if line.failure else "no result"
        else:
            step = statistics.median(line.result.step_seconds)
            memory = line.result.memory
            peak = f"peak {memory.peak_bytes / 2**20:.1f} MiB" if memory else "peak not measured"
            text = f"{1000 * step:.2f} ms a step, {peak}"
        yield f"  {line.stage}: {line.label:<26}{line.seconds:6.1f} s  {text}"


def _unexpected(lines: Sequence[Line]) -> Iterator[str]:
    complaints = unmet(lines)
    yield f"Unmet expectations: {len(complaints) or 'none'}"
    yield from (f"  - {complaint}" for complaint in complaints[:MOST_COMPLAINTS])
    if len(complaints) > MOST_COMPLAINTS:
        yield f"  … and {len(complaints) - MOST_COMPLAINTS} more: see the record"
