"""How far a comparison is, and how long it will still take."""

from halftime.contract.resources.benchmark import Progress
from worker.comparison.comparison_run import ComparisonRun
from worker.messages import TrialSpec


def progress_of(comparison: ComparisonRun, spec: TrialSpec, step: int, elapsed_seconds: float) -> Progress:
    """Returns the progress after a step, with the remaining time at the pace so far, at most the time budget's rest."""
    legs = len(comparison.legs)
    trials_done = comparison.blocks * legs + spec.position + step / spec.training.steps
    fraction = trials_done / (comparison.planned_blocks * legs)
    eta_seconds = elapsed_seconds * (1 - fraction) / fraction if fraction else None
    return Progress(
        phase="measure",
        block=comparison.blocks + 1,
        max_blocks=comparison.planned_blocks,
        leg=spec.leg,
        step=step,
        total_steps=spec.training.steps,
        fraction=round(fraction * comparison.share_of_blocks, 4),
        eta_seconds=None if eta_seconds is None else round(max(0.0, min(eta_seconds, comparison.seconds_left)), 1),
    )
