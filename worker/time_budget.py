"""How the time budget is divided among trials: none starts or goes on beyond it.

Two blocks are the least that gives an interval. So until the first has ended, every trial has a share such that the
others of both blocks can have theirs; afterwards the trials of a block share what is left. A trial that has run before
is expected to take as long again.
"""

from collections.abc import Sequence

from worker.messages import TimeLimit

#: Seconds that a trial is expected to take; None where no trial of its leg has run.
Expected = float | None


def time_limit(left_seconds: float, others: Sequence[Expected], later: Sequence[Expected]) -> TimeLimit:
    """What a trial may take of what the budget has left.

    `others` are the trials that follow in the block; `later`, those of the block that has to follow, if one has.
    """
    share_seconds = _share(left_seconds, [*others, *later])
    return TimeLimit(share_seconds=share_seconds, most_seconds=max(share_seconds, _share(left_seconds, others)))


def _share(left_seconds: float, others: Sequence[Expected]) -> float:
    """What the trials of known length leave free, divided by this one and those of unknown length."""
    known = [seconds for seconds in others if seconds is not None]
    free_seconds = left_seconds - sum(known)
    if free_seconds <= 0:
        return left_seconds / (1 + len(others))
    return free_seconds / (1 + len(others) - len(known))
