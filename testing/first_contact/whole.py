"""A whole comparison in fresh processes, as a worker runs it, with its report next to the record."""

from collections.abc import Callable
from pathlib import Path

import anyio

from app.reports.markdown import to_markdown
from app.reports.text.wording import headline
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.failure import Failure
from halftime.contract.report.report import Report
from halftime.contract.report.trial import TrialResult
from halftime.contract.request.request import BenchmarkRequest
from testing.first_contact.lines import ReportLine
from testing.first_contact.processes import OutOfTime
from testing.first_contact.scale import Scale
from testing.first_contact.timetable import Deadline
from testing.first_contact.trials import Trials
from worker.comparison.blocks import compare
from worker.comparison.comparison_run import ComparisonRun
from worker.device.detection import detect
from worker.messages import TrialSpec
from worker.report.build import make_report

#: Two blocks, the minimum, and a control: every leg runs first and last once.
BLOCKS = 2


async def run_comparison(device: str, scale: Scale, trials: Trials, deadline: Deadline, folder: Path) -> None:
    """Write `report.json` and `report.md` into the folder. Raises OutOfTime, and the worker's BenchmarkFailed."""

    async def run_trial(
        spec: TrialSpec, deadline_seconds: float, after_step: Callable[[int], None]
    ) -> TrialResult | Failure:
        return await trials.run(f"block {spec.block} {spec.leg}", spec, deadline.within(deadline_seconds))

    request = _request(device, scale, deadline.seconds_left())
    measured = None
    with anyio.move_on_after(deadline.seconds_left()):
        measured = await compare(ComparisonRun.of(request, detect(device)), run_trial, lambda progress: None)
    if measured is None:
        raise OutOfTime("the comparison had not ended when its time was up; the record has its trials")
    report = make_report("first-contact", measured)
    (folder / "report.json").write_text(report.model_dump_json(indent=1) + "\n")
    (folder / "report.md").write_text(to_markdown(report))
    trials.record.write(_line(report))


def _request(device: str, scale: Scale, seconds: float) -> BenchmarkRequest:
    config = {
        "device": "cpu" if device == "cpu" else "cuda",
        "candidates": list(scale.precisions[1:]),
        "training": {"batch_size": 2 * scale.batch_size, "steps": 25, "warmup_steps": 5},
        "measurement": {
            "min_blocks": BLOCKS,
            "max_blocks": BLOCKS,
            "control": True,
            "time_budget_seconds": max(1.0, seconds),
        },
        "timeout_seconds": max(1.0, seconds),
    }
    return BenchmarkRequest.model_validate({"model": scale.models["transformer"].model_dump(), "config": config})


def _line(report: Report) -> ReportLine:
    checks = report.attestation.checks
    candidates = {comparison.candidate.precision: comparison for comparison in report.comparisons}
    return ReportLine(
        headline=headline(report),
        verdict=report.verdict,
        reasons=report.reasons,
        warnings=report.warnings,
        failed_checks=[
            f"{check.leg}: {check.name}: expected {check.expected}, observed {check.observed}"
            for check in checks
            if not check.ok
        ],
        checks=len(checks),
        speedups={name: _value(comparison.speedup) for name, comparison in candidates.items()},
        memory_reduction_percent={
            name: _value(comparison.memory_reduction_percent) for name, comparison in candidates.items()
        },
        overhead_seconds=report.overhead_seconds,
        total_seconds=report.total_seconds,
    )


def _value(estimate: Estimate | None) -> float | None:
    return estimate.value if estimate else None
