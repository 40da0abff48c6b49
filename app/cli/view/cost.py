"""Estimated cost and warnings of a request, before it runs."""

from collections.abc import Sequence

from halftime.contract.resources.cost import Preview


def cost_line(previews: Sequence[Preview]) -> str:
    """Describes the number of trials and, if known, the minutes of all benchmarks together."""
    costs = [preview.cost for preview in previews]
    trials = _range(sum(cost.least_trials for cost in costs), sum(cost.most_trials for cost in costs), 0)
    count = f"{len(previews)} benchmarks, " if len(previews) > 1 else ""
    for cost in costs:
        if cost.least_seconds is None or cost.most_seconds is None:
            return f"Estimated cost: {count}{trials} trials; duration unknown: {cost.basis}."
    least, most = (sum(getattr(cost, name) or 0 for cost in costs) for name in ("least_seconds", "most_seconds"))
    unit = "GPU-minutes" if previews[0].device == "cuda" else "minutes"
    return (
        f"Estimated cost: {count}{trials} trials, {_range(least / 60, most / 60, 1)} {unit}, based on {costs[0].basis}."
    )


def forewarnings(previews: Sequence[Preview]) -> list[str]:
    """Returns the warnings of all benchmarks together, each once."""
    return list(dict.fromkeys(warning for preview in previews for warning in preview.warnings))


def _range(least: float, most: float, digits: int) -> str:
    low, high = f"{least:,.{digits}f}", f"{most:,.{digits}f}"
    if low == high:
        return low
    return f"{low} to {high}" if float(low.replace(",", "")) else f"up to {high}"
