"""What a trial of a leg is to do."""

from worker.comparison.comparison_run import ComparisonRun, LegRun
from worker.messages import TrialSpec


def spec_of(comparison: ComparisonRun, leg: LegRun, position: int) -> TrialSpec:
    """Returns the spec of the leg's trial in the current block; the survey is examined, or else the leg's first trial.

    The survey trains from the seed of the first block.
    """
    config = comparison.request.config
    examined = not leg.all_trials
    return TrialSpec(
        device=comparison.device.name,
        precision=leg.precision,
        leg_name=leg.name,
        block=comparison.blocks,
        position=position,
        model=comparison.request.model,
        training=config.training,
        data=config.data,
        adapters=config.adapters,
        parameter_count=comparison.parameter_count,
        examined=examined,
        explained=examined and config.explain is not False,
        phase="survey" if comparison.pairing is None else "measure",
        max_steps=comparison.max_steps,
    )
