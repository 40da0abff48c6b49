"""How far a comparison is, and how long it will still take."""

from halftime.contract.resources.benchmark import Progress
from worker.comparison.comparison_run import ComparisonRun
from worker.messages import TrialSpec


def progress_of(comparison: ComparisonRun, spec: TrialSpec, step: int) -> Progress:
    """Returns the progress after a step of a whole trial."""
    return _progress(comparison, spec, step, (spec.position + step / spec.training.steps) / len(comparison.legs))


def progress_in_turns(comparison: ComparisonRun, spec: TrialSpec, step: int, block_fraction: float) -> Progress:
    """Returns the progress after a step of a leg in its turn; `block_fraction` is the share of all legs' steps."""
    return _progress(comparison, spec, step, block_fraction)


def _progress(comparison: ComparisonRun, spec: TrialSpec, step: int, block_fraction: float) -> Progress:
    """Returns the progress, with the remaining time at the pace so far, at most the time budget's rest.

    The survey takes about as long as a block.
    """
    surveys = int(comparison.has_survey or spec.phase == "survey")
    done = comparison.blocks + comparison.has_survey + block_fraction
    fraction = min(1.0, done / (comparison.planned_blocks + surveys))
    elapsed_seconds = comparison.elapsed_seconds
    eta_seconds = elapsed_seconds * (1 - fraction) / fraction if fraction else None
    return Progress(
        phase="measure",
        is_survey=spec.phase == "survey",
        in_turns=comparison.pairing == "turns",
        block=comparison.blocks + 1,
        max_blocks=comparison.planned_blocks,
        leg=spec.leg,
        step=step,
        total_steps=spec.training.steps,
        fraction=round(fraction * comparison.share_of_blocks, 4),
        eta_seconds=None if eta_seconds is None else round(max(0.0, min(eta_seconds, comparison.seconds_left)), 1),
    )
