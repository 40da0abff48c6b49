"""The stopping rule: when a comparison has enough blocks, or no time for another.

The pilot is the first `min_blocks` blocks: their variance decides how many blocks the target interval needs.
"""

from halftime.contract.report.failure import FailureCode
from halftime.contract.report.report import StoppedBy
from halftime.contract.request.request import MeasurementConfig
from worker.comparison.comparison_run import ComparisonRun, log_ratios, paired
from worker.comparison.estimates import blocks_needed


def stop_reason(comparison: ComparisonRun, measurement: MeasurementConfig, block_seconds: float) -> StoppedBy | None:
    """The stopping rule: returns why no further block is needed, None if one is."""
    if not comparison.can_compare():
        out_of_time = any(leg.failure and leg.failure.code is FailureCode.TIME_BUDGET for leg in comparison.legs)
        return "time_budget" if out_of_time else "leg_failed"
    if 2 <= comparison.blocks <= measurement.min_blocks:  # an estimate until the last block of the pilot
        comparison.planned_blocks = planned_blocks(comparison, measurement)
    if comparison.blocks >= comparison.planned_blocks:
        reached = comparison.blocks >= _blocks_needed(comparison, measurement)
        return "target_ci" if reached else "max_blocks"
    # The second block is started in any case, and its trials share the time left. Later ones have to fit.
    least_seconds = block_seconds if comparison.blocks >= 2 else 0
    return "time_budget" if comparison.seconds_left <= least_seconds else None


def planned_blocks(comparison: ComparisonRun, measurement: MeasurementConfig) -> int:
    """Number of blocks that the interval needs, rounded up to an even number where the request allows."""
    needed = max(measurement.min_blocks, _blocks_needed(comparison, measurement))
    even = needed + needed % 2 if needed > measurement.min_blocks else needed
    return min(measurement.max_blocks, even)


def _blocks_needed(comparison: ComparisonRun, measurement: MeasurementConfig) -> int:
    """Number of blocks that the noisiest candidate needs, from the pilot's variance."""
    pilots = []
    for leg in comparison.candidates:
        pairs = paired(comparison.baseline, leg)[: measurement.min_blocks]
        if leg.failure is None and len(pairs) >= 2:
            pilots.append(log_ratios(pairs))
    return max(blocks_needed(pilot, measurement.target_ci) for pilot in pilots)
