"""A request through the API; then its inspection and comparison in this process, which imports each library once."""

import torch

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.request.request import BenchmarkRequest
from tests.cases.answers import Answer
from tests.factories import CPU
from worker.comparison.blocks import compare
from worker.comparison.comparison_run import ComparisonRun
from worker.comparison.leg_failures import BenchmarkFailed
from worker.errors import TrialFailed
from worker.messages import Inspection
from worker.report.build import make_report
from worker.trial import inspection
from worker.trial.run import run_trial


async def answered(client, text, monkeypatch):
    """The answer to a request."""
    response = await client.post("/benchmarks", content=text, headers={"Content-Type": "application/json"})
    if response.status_code == 422:
        return Answer(problem=response.json())
    assert response.status_code == 202, response.text
    benchmark = response.json()
    monkeypatch.setattr(inspection, "_limit_memory", lambda: None)  # of a process that ends with the inspection
    try:
        report = await _report(benchmark["id"], BenchmarkRequest.model_validate(benchmark["request"]))
    except BenchmarkFailed as error:
        return Answer(benchmark=benchmark | {"failure": error.failure.model_dump()})
    return Answer(benchmark=benchmark, report=report.model_dump(mode="json"))


async def _report(benchmark_id, request):
    try:
        facts = inspection.inspect_model(
            Inspection(
                device="cpu",
                model=request.model,
                data=request.config.data,
                seed=request.config.training.seed,
                metrics=[],
            )
        )
    except TrialFailed as error:
        raise BenchmarkFailed(error.failure) from error
    measured = await compare(ComparisonRun.of(request, CPU, facts.parameter_count), _trial, lambda progress: None)
    return make_report(benchmark_id, measured)


async def _trial(spec, deadline_seconds, after_step):
    try:
        with torch.random.fork_rng():
            return run_trial(spec.model_copy(update={"explained": False}), after_step)  # not what is asked here
    except TrialFailed as error:
        return error.failure
    except Exception as error:  # as the trial's process sends it
        return Failure.of(FailureCode.INTERNAL, f"{type(error).__name__}: {error}")
