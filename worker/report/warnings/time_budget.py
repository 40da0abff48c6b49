"""Warnings about what the time budget shortened or left out."""

from collections.abc import Iterator

from worker.comparison.comparison_run import ComparisonRun, LegRun, median_step


def about_the_time(measured: ComparisonRun) -> Iterator[str]:
    """Yields what the time budget shortened or left out."""
    steps = measured.request.config.training.steps
    for leg in measured.legs:
        if leg.ended_early_reason:  # which says it all
            continue
        shortened = [len(trial.loss_curve) for trial in leg.trials if trial.ended_early]
        if shortened:
            yield (
                f"{leg.name}: {len(shortened)} of {len(leg.trials)} trials ended after {_range(shortened)} of {steps} "
                "steps, for lack of time. Losses and accuracies are those after that many steps, and are compared only "
                "between trials with equally many."
            )
        warmup = [len(trial.loss_curve) - len(trial.step_seconds) for trial in leg.trials]
        requested = measured.request.config.training.warmup_steps
        if warmup and min(warmup) < requested:
            yield (
                f"{leg.name}: warm-up had {_range(warmup)} of {requested} steps, for lack of time: the measured steps "
                "may include one-time costs of the first steps."
            )
        if any(trial.validation_share < 1 for trial in leg.trials):
            yield f"{leg.name}: validated on only part of the held-out data, for lack of time."
    # The duration of a leg without a trial is unknown.
    if all(leg.trials for leg in measured.legs) and any(
        trial.ended_early for leg in measured.legs for trial in leg.trials
    ):
        yield (
            f"For full-length trials in {measured.request.config.measurement.min_blocks} blocks, set "
            f"time_budget_seconds to about {_seconds_for_whole_trials(measured):.0f}."
        )


def _range(numbers: list[int]) -> str:
    return str(numbers[0]) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def _seconds_for_whole_trials(measured: ComparisonRun) -> float:
    """Estimates the seconds of `min_blocks` blocks with all steps of every leg, with the overhead measured here.

    In turns, the survey comes on top of them, and none of their trials is examined.
    """
    config = measured.request.config
    training_seconds = sum(config.training.steps * median_step(leg.trials[-1]) for leg in measured.legs)
    alone_seconds = training_seconds + sum(map(_overhead_seconds, measured.legs))
    if measured.pairing != "turns":
        return config.measurement.min_blocks * alone_seconds
    proof_seconds = sum(trial.proof_seconds for leg in measured.legs for trial in leg.measured_alone)
    return alone_seconds + config.measurement.min_blocks * (alone_seconds - proof_seconds)


def _overhead_seconds(leg: LegRun) -> float:
    """Most time that a trial of a leg, alone on the device, took besides training."""
    return max(trial.trial_seconds - trial.training_time_seconds for trial in leg.measured_alone)
