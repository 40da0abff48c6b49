"""How the gains of advice are measured if a request asks for it."""

#: The first pieces of advice on each candidate that are measured.
MOST_VERIFIED = 3

#: Blocks of one: a trial of the candidate as it is, and one with the change. A trial with the change comes before them.
VERIFICATION_BLOCKS = 3

#: Most time that all of it takes, as a share of `time_budget_seconds`, to which it is added.
VERIFICATION_TIME_SHARE = 0.5


def most_verification_trials(candidates: int) -> int:
    """Most trials that measure gains."""
    return candidates * MOST_VERIFIED * (1 + 2 * VERIFICATION_BLOCKS)
