"""A whole comparison in fresh processes, as a worker runs it, without the service."""

from collections.abc import Callable, Sequence

from halftime.contract.report.failure import Failure
from halftime.contract.report.report import Report
from halftime.contract.report.trial import TrialResult
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.benchmark import Progress
from worker.agent.launcher import TrialLauncher
from worker.comparison.blocks import compare
from worker.comparison.comparison_run import ComparisonRun
from worker.comparison.verification import verify_advice
from worker.device.detection import detect
from worker.messages import AfterStepInTurns, BlockTurns, DeviceSupport, OutcomeInTurns, TrialSpec
from worker.report.build import advice_by_candidate, make_report

#: Limit for measuring the device.
SUPPORT_SECONDS = 120.0


async def run_job(
    request: BenchmarkRequest,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    planted: Callable[[TrialSpec], TrialSpec] = lambda spec: spec,
) -> Report:
    """Report of a request on this machine's first device; `planted` changes what a trial does."""
    launcher = TrialLauncher()

    async def run_trial(
        spec: TrialSpec, deadline_seconds: float, after_step: Callable[[int], None]
    ) -> TrialResult | Failure:
        outcome, logs = await launcher.run(planted(spec), deadline_seconds, after_step)
        _require_result(spec, outcome, logs)
        return outcome

    async def run_turns(
        specs: Sequence[TrialSpec], turns: BlockTurns, deadline_seconds: float, after_step: AfterStepInTurns
    ) -> list[OutcomeInTurns]:
        results = await launcher.run_in_turns([planted(spec) for spec in specs], turns, deadline_seconds, after_step)
        for spec, (outcome, logs) in zip(specs, results, strict=True):
            _require_result(spec, outcome, logs)
        return [outcome for outcome, _ in results]

    try:
        device = detect("auto")
        support = await launcher.measure_support(device.name, SUPPORT_SECONDS)
        assert isinstance(support, DeviceSupport), support
        device = device.model_copy(update={"precisions": support.precisions, "ceilings": support.ceilings})
        measured = await compare(ComparisonRun.of(request, device), run_trial, on_progress, run_turns=run_turns)
        if request.config.verifies_advice:
            await verify_advice(measured, advice_by_candidate(measured), run_trial, run_turns, on_progress)
        return make_report("benchmark", measured)
    finally:
        await launcher.close()


def _require_result(spec: TrialSpec, outcome: OutcomeInTurns, logs: str) -> None:
    """Raises AssertionError for a leg that failed, but for one that only verifies advice, which may not be possible."""
    assert isinstance(outcome, TrialResult) or spec.phase == "verify", f"{outcome}\n{logs}"
