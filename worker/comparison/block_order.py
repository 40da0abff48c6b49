"""The order of legs within a block: ABBA BAAB, counterbalanced.

Of four blocks, the first and the last run the baseline first, the two between run it last: a linear drift of clock or
temperature cancels over every two blocks, and noise that is correlated from trial to trial makes adjacent blocks too
similar as often as too different.
"""

from worker.comparison.comparison_run import LegRun


def baseline_first(block: int) -> bool:
    """Whether the block with this index (from 0) runs the baseline first."""
    return block % 4 in {0, 3}


def order_of_block(legs: list[LegRun], block: int) -> list[LegRun]:
    """Returns the legs in the order of a block: ABBA BAAB, counterbalanced."""
    return legs if baseline_first(block) else legs[::-1]
