"""Warnings about the trials of a leg: what disturbed them, and what could not be examined."""

from collections.abc import Iterator

from halftime.contract.report.trial import TrialResult
from worker.comparison.comparison_run import ComparisonRun, LegRun
from worker.report.multiplied import about_multiplications
from worker.report.warnings.waiting import about_waiting
from worker.report.warnings.weights import about_the_gradient, about_unmoved_weights
from worker.training.pace import NO_TIME

#: Wording for the result that each examination provides.
EXAMINATIONS = {
    "forward_dtypes": "check of the dtypes of its matrix products",
    "memory": "memory figure",
    "memory_breakdown": "breakdown of its memory peak",
    "numerics": "comparison of a step with FP64",
    "first_overflow": "search for the first module that overflowed",
    "ceiling": "rate of the fastest matrix product",
    "probes": "probe of its arithmetic",
}


def about_the_trials(leg: LegRun, measured: ComparisonRun) -> Iterator[str]:
    """Yields what is to be known of a leg that has a trial."""
    yield from _about_disturbances(leg)
    yield from _about_what_is_missing(leg)
    yield from about_multiplications(leg, measured.request.model)
    yield from about_the_gradient(leg)
    yield from about_unmoved_weights(leg, measured.baseline)
    yield from about_waiting(leg, measured)
    if measured.device.kind == "cuda" and not all(map(_saw_other_processes, leg.all_trials)):
        yield f"{leg.precision}: NVML could not report whether other processes used the GPU."


def _about_disturbances(leg: LegRun) -> Iterator[str]:
    """Of whole trials; of those in turns, the disturbed slices are warned of by pair."""
    disturbed = [trial for trial in leg.trials if trial.disturbances and not trial.slices]
    if disturbed:
        blocks = ", ".join(str(trial.block + 1) for trial in disturbed)
        yield (
            f"{leg.precision}: {len(disturbed)} of {len(leg.trials)} trials were disturbed (block {blocks}). First "
            f"disturbed trial: {'; '.join(disturbed[0].disturbances)}. Repeat the benchmark when the machine is idle."
        )


def _saw_other_processes(trial: TrialResult) -> bool:
    return trial.telemetry.gpu is not None and trial.telemetry.gpu.foreign_processes is not None


def _about_what_is_missing(leg: LegRun) -> Iterator[str]:
    """Yields what was not examined in the leg's survey or first trial."""
    missing = leg.measured_alone[0].not_examined
    no_time = [what for name, what in EXAMINATIONS.items() if missing.get(name, "").startswith(NO_TIME)]
    if no_time:
        yield f"{leg.name}: no {', no '.join(no_time)}, {NO_TIME}. Raise measurement.time_budget_seconds."
    for name, what in EXAMINATIONS.items():
        if name in missing and not missing[name].startswith(NO_TIME):
            yield f"{leg.name}: no {what}: {missing[name]}."
