"""A whole comparison in fresh processes, as a worker runs it, without the service around it."""

from collections.abc import Callable

from app.contract.benchmark import Progress
from app.contract.failure import Failure
from app.contract.report import Report
from app.contract.request import BenchmarkRequest
from app.contract.trial import TrialResult
from worker.comparison import compare
from worker.device import detect
from worker.launcher import TrialLauncher
from worker.legs import Comparison
from worker.messages import TrialSpec
from worker.report import make_report


async def run_job(request: BenchmarkRequest, on_progress: Callable[[Progress], None] = lambda progress: None) -> Report:
    """The report of a request on this machine's first device."""
    launcher = TrialLauncher()

    async def run_trial(
        spec: TrialSpec, deadline_seconds: float, after_step: Callable[[int], None]
    ) -> TrialResult | Failure:
        outcome, logs = await launcher.run(spec, deadline_seconds, after_step)
        assert isinstance(outcome, TrialResult), f"{outcome}\n{logs}"
        return outcome

    try:
        measured = await compare(Comparison.of(request, detect("auto")), run_trial, on_progress)
        return make_report("benchmark", measured)
    finally:
        await launcher.close()
