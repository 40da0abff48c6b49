"""No change, where little is left to gain."""

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import Advice
from worker.explain.advice.facts import Facts
from worker.explain.advice.words import percent

#: Share of what is possible from which on nothing more is worth a change; and if nothing is known that would help.
ENOUGH, ENOUGH_WITHOUT_OTHERS = 0.9, 0.75


def stop_here(facts: Facts, is_alone: bool) -> Advice | None:
    """Advises to stop where the speedup is near the bound; `is_alone`: there is no other advice.

    The gain is none. At most, what is left up to the bound: the bound / the speedup.
    """
    ceiling = facts.bound.all_at_ceiling
    if facts.speedup is None or ceiling is None:
        return None
    share = min(1.0, facts.speedup.value / ceiling.value)
    if share < (ENOUGH_WITHOUT_OTHERS if is_alone else ENOUGH):
        return None
    others = "" if is_alone else " Only what changes the work itself, as above, goes further."
    return Advice(
        name="stop_here",
        text=f"Stop here: {percent(share)} of what is possible.{others}",
        evidence=(
            f"the measured speedup is {facts.speedup.value:.2f}; with every kind of work at the device's ceiling it "
            f"would be {ceiling.value:.2f}."
        ),
        estimated_gain=Estimate(value=1.0, ci_low=1.0, ci_high=1 / share),
        request=None,
    )
