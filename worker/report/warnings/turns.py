"""Warnings about how the legs were paired: whole trials although turns were wanted, pairs left out, slow legs."""

import itertools
from collections.abc import Iterator

from halftime.contract.report.pairs import SlicePair, counted_pairs, slice_pairs
from worker.comparison.blocks import ONE_AT_A_TIME
from worker.comparison.comparison_run import ComparisonRun, LegRun, paired


def about_turns(measured: ComparisonRun) -> Iterator[str]:
    """Yields why legs did not take turns, and what was not compared where they did."""
    if measured.pairing == "trials" and _wanted_turns(measured):
        yield (
            f"The legs were trained one whole trial after the other: {measured.pairing_reason}. Changes of the machine "
            "from trial to trial widen the intervals. If they are too wide, remove the cause, or raise "
            "measurement.max_blocks."
        )
    for leg in measured.legs:
        if leg.ended_early_reason:
            yield f"{leg.name}: {leg.ended_early_reason}"
    for leg in measured.legs[1:]:
        yield from _about_pairs(measured.baseline, leg)


def _wanted_turns(measured: ComparisonRun) -> bool:
    """Whether neither the request nor this process rules them out: a loader does as `pairing` does."""
    config = measured.request.config
    asked = config.measurement.pairing == "auto" and config.data.loader is None
    return asked and measured.pairing_reason != ONE_AT_A_TIME


def _about_pairs(baseline: LegRun, leg: LegRun) -> Iterator[str]:
    blocks = {one.block: slice_pairs(one, other) for one, other in paired(baseline, leg)}
    overrun = {block: pairs for block, pairs in blocks.items() if _are_all_counted(pairs)}
    left_out = [pair for block, pairs in blocks.items() if block not in overrun for pair in pairs if pair.is_disturbed]
    if left_out:
        yield (
            f"{leg.name}: {len(left_out)} of {sum(map(len, blocks.values()))} pairs of slices were disturbed and left "
            f"out; the first because {_why(left_out[0])}."
        )
    if overrun:
        numbers = ", ".join(str(block + 1) for block in overrun)
        first = next(pair for pair in itertools.chain(*overrun.values()) if pair.is_disturbed)
        yield (
            f"{leg.name}: too few pairs of slices were undisturbed in {len(overrun)} of {len(blocks)} blocks "
            f"({numbers}), where all of them count; the first was disturbed because {_why(first)}. Repeat the "
            "benchmark when the machine is idle."
        )


def _are_all_counted(pairs: list[SlicePair]) -> bool:
    """Whether pairs count although they are disturbed."""
    return any(pair.is_disturbed for pair in counted_pairs(pairs))


def _why(pair: SlicePair) -> str:
    return [*pair.baseline.disturbances, *pair.other.disturbances][0]
