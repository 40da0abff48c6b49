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
from worker.device.detection import detect
from worker.messages import AfterStepInTurns, BlockTurns, OutcomeInTurns, TrialSpec
from worker.report.build import make_report


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
        assert isinstance(outcome, TrialResult), f"{outcome}\n{logs}"
        return outcome

    async def run_turns(
        specs: Sequence[TrialSpec], turns: BlockTurns, deadline_seconds: float, after_step: AfterStepInTurns
    ) -> list[OutcomeInTurns]:
        results = await launcher.run_in_turns([planted(spec) for spec in specs], turns, deadline_seconds, after_step)
        for outcome, logs in results:
            assert isinstance(outcome, TrialResult), f"{outcome}\n{logs}"
        return [outcome for outcome, _ in results]

    try:
        measured = await compare(ComparisonRun.of(request, detect("auto")), run_trial, on_progress, run_turns=run_turns)
        return make_report("benchmark", measured)
    finally:
        await launcher.close()
