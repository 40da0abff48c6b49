"""Explains a comparison: its waterfall, the bounds of its speedup, its cause in words, and what to change."""

from collections.abc import Iterable, Sequence
from typing import get_args

import structlog

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import Bound, Explanation, TimeByKind, WaterfallStep, WorkKind
from halftime.contract.report.kinds import MULTIPLYING
from halftime.contract.report.report import Comparison, Leg
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.request.training import TrainingConfig
from halftime.contract.resources.worker import WorkerDevice
from worker.explain.advice import advise
from worker.report.cause import cause_of
from worker.report.time_by_kind import IDLE

log = structlog.get_logger(__name__)


def with_explanation(
    compared: Comparison, baseline: Leg, request: BenchmarkRequest, device: WorkerDevice
) -> Comparison:
    """Returns the comparison with its explanation, or with the reason why there is none.

    An error here is logged and named: the figures that were measured stand without an explanation.
    """
    missing = why_not_explained(baseline, compared.candidate, compared.speedup)
    if missing is None and compared.speedup is not None:
        try:
            explanation = explain(baseline, compared.candidate, compared.speedup, request, device)
            return compared.model_copy(update={"explanation": explanation})
        except Exception as error:
            log.exception("speedup not explained")
            missing = f"an error in Halftime: {type(error).__name__}: {error}"
    return compared.model_copy(update={"explanation_missing": missing})


def explain(
    baseline: Leg, candidate: Leg, speedup: Estimate, request: BenchmarkRequest, device: WorkerDevice
) -> Explanation:
    """Explains the speedup of a candidate whose leg, like the baseline's, has its time by kind."""
    steps, bound = waterfall(baseline, candidate), bound_of(candidate, speedup, request.config.training)
    return Explanation(
        cause=cause_of(baseline, candidate, steps),
        bound=bound,
        waterfall=steps,
        advice=advise(request, baseline, candidate, speedup, bound, device),
    )


def why_not_explained(baseline: Leg, candidate: Leg, speedup: Estimate | None) -> str | None:
    """Why a comparison has no explanation; None if it has one."""
    for leg in (baseline, candidate):
        if not leg.time_by_kind:
            return f"{leg.precision}: {leg.time_by_kind_missing or 'no trial succeeded'}"
    return "no speedup was measured" if speedup is None else None


def waterfall(baseline: Leg, candidate: Leg) -> list[WaterfallStep]:
    """Both legs' seconds per step by kind, in the order of reports; without kinds that neither leg has."""
    ours, theirs = (seconds_by_kind(leg.time_by_kind) for leg in (baseline, candidate))
    return [
        WaterfallStep(kind=kind, baseline_seconds=ours.get(kind, 0.0), candidate_seconds=theirs.get(kind, 0.0))
        for kind in get_args(WorkKind)
        if kind in ours or kind in theirs
    ]


def bound_of(candidate: Leg, speedup: Estimate, training: TrainingConfig) -> Bound:
    """Scales the measured speedup by how much faster the candidate's step could be, so that no bound is below it."""
    rows = candidate.time_by_kind
    seconds = sum(row.seconds_per_step for row in rows)
    without_products = sum(row.seconds_per_step for row in rows if row.kind not in MULTIPLYING)
    at_ceiling = [_at_ceiling(row) for row in rows]
    return Bound(
        matmul_free=None if _hides_products(training) else _scaled(speedup, seconds, without_products),
        all_at_ceiling=_scaled(speedup, seconds, sum(at_ceiling)) if _have_ceilings(rows) else None,
    )


def _hides_products(training: TrainingConfig) -> bool:
    """Whether the compiler generates products or replays them in CUDA graphs, where they count as `fused`."""
    return training.compile is not None and training.compile.mode != "default"


def seconds_by_kind(rows: Iterable[TimeByKind]) -> dict[WorkKind, float]:
    """Seconds per step by kind."""
    return {row.kind: row.seconds_per_step for row in rows}


def _at_ceiling(row: TimeByKind) -> float:
    """Seconds of a kind at its ceiling: none for the host alone, and as measured where no ceiling is known."""
    if row.kind == "host":
        return 0.0
    return row.seconds_per_step * (1.0 if row.share_of_ceiling is None else row.share_of_ceiling)


def _have_ceilings(rows: Sequence[TimeByKind]) -> bool:
    return any(row.share_of_ceiling is not None for row in rows if row.kind not in IDLE)


def _scaled(speedup: Estimate, seconds: float, least_seconds: float) -> Estimate | None:
    if least_seconds <= 0:
        return None
    factor = seconds / least_seconds
    return Estimate(value=speedup.value * factor, ci_low=speedup.ci_low * factor, ci_high=speedup.ci_high * factor)
