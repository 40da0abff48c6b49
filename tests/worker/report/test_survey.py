"""Figures of a leg that are from its survey, since blocks in turns are not examined."""

import pytest

from halftime.contract.report.trial import GradScalerTrace
from tests.app.reports.reported import reported_in_turns
from tests.factories import telemetry
from tests.worker.comparison.in_turns import STEP_SECONDS, Machine, survey, turned

pytestmark = pytest.mark.anyio

FP16 = STEP_SECONDS | {"fp16": 0.01}


def trace(first_overflow):
    return GradScalerTrace(
        initial_scale=65536,
        final_scale=32768,
        skipped_steps=[0],
        scale_trace=[32768.0] * 85,
        unsettled_after_warmup=False,
        first_overflow=first_overflow,
    )


async def test_modules_that_overflowed_are_those_that_the_survey_found():
    def surveyed(spec):
        found = trace(["layers.0"]) if spec.precision == "fp16" else None
        return survey(spec, step_seconds=FP16, grad_scaler=found)

    def in_turns(specs, turns):
        trials = turned(specs, turns, step_seconds=FP16)
        return [trials[0], trials[1].model_copy(update={"grad_scaler": trace(None)})]

    report = await reported_in_turns(Machine(surveyed, in_turns), candidates=["fp16"])
    scaler = report.comparisons[0].candidate.grad_scaler
    assert scaler.first_overflow == ["layers.0"]
    assert scaler.skipped_steps == 4  # of the blocks


async def test_repetitions_of_a_disturbed_survey_are_counted():
    busy = telemetry(foreign_cores=1000.0)
    report = await reported_in_turns(Machine(survey=lambda spec: survey(spec, telemetry=busy)))
    assert report.baseline.survey.repeats == 1
    assert report.baseline.repeated_trials == 1
