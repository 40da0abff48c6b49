"""Warnings about steps that wait: for the loader, the host, or the device."""

import statistics
from collections.abc import Iterator

from halftime.contract.report.trial import TrialResult
from halftime.contract.request.training import TrainingConfig
from worker.comparison.comparison_run import ComparisonRun, LegRun, median_step
from worker.explain.advice.facts import LOADER_BOUND

#: Ratio of a step's issue time to its duration above which the host, not the GPU, limits throughput.
HOST_BOUND = 0.9

#: Largest final wait for the device, as a share of a step, at which the host can be the bottleneck. A device that lags
#: behind has up to 1024 kernels queued at that point, a large part of most steps.
SHORT_WAIT_SHARE = 0.1


def about_waiting(leg: LegRun, measured: ComparisonRun) -> Iterator[str]:
    """Yields what a step waits for: data on any device, and on a GPU whatever keeps it idle."""
    share = data_wait_share(leg.trials)
    if share is not None and share > LOADER_BOUND:
        yield (
            f"{leg.precision}: loader-bound. {share:.0%} of the measured time was spent waiting for data, which no "
            "precision speeds up. Raise loader.workers, make samples cheaper, or omit the loader."
        )
    if measured.device.kind == "cuda":
        yield from _about_an_idle_gpu(leg, measured.request.config.training)


def _about_an_idle_gpu(leg: LegRun, training: TrainingConfig) -> Iterator[str]:
    trials = leg.measured_alone
    waits = trials[0].synchronisations
    if waits:
        yield (
            f"{leg.precision}: every step waits for the device ({', '.join(waits)}), because {_sync_source(training)} "
            "reads values from it."
        )
    share = statistics.median(trial.host_issue_seconds / median_step(trial) for trial in trials)
    if share > HOST_BOUND and not waits and _final_wait_share(trials) < SHORT_WAIT_SHARE:
        yield (
            f"{leg.precision}: launch-bound. Issuing a step takes the host {share:.0%} of the step's time, so the GPU "
            "waits for the host. A larger batch or model would use the GPU more, and change the speedup."
        )


def _sync_source(training: TrainingConfig) -> str:
    """Names what may synchronise: without a fused optimizer, the scaler reads `found_inf`; Adafactor reads norms."""
    if training.implementation == "fused":
        return "the model or its loss"
    return f"{training.optimizer} (foreach), its gradient scaler, the model, or its loss"


def _final_wait_share(trials: list[TrialResult]) -> float:
    """The last wait for the device as a share of a step, median over trials; 0 if no trial recorded it."""
    waits = [trial.final_wait_seconds / median_step(trial) for trial in trials if trial.final_wait_seconds is not None]
    return statistics.median(waits) if waits else 0.0


def data_wait_share(trials: list[TrialResult]) -> float | None:
    """Share of the measured time spent waiting for the data loader, median over trials; None without a loader."""
    shares = [
        trial.data_wait_seconds / trial.measured_wall_seconds for trial in trials if trial.data_wait_seconds is not None
    ]
    return statistics.median(shares) if shares else None
