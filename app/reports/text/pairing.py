"""Wording of how the legs of a report were measured side by side; nothing for reports of earlier releases."""

from collections.abc import Callable, Iterator

from halftime.contract.report.named_legs import NamedLeg, named_legs
from halftime.contract.report.report import Comparison, Leg, Report
from halftime.contract.report.slices import TurnsPlan


def pairing_lines(report: Report) -> list[str]:
    """Returns whether the legs took turns and why, the pairs that were compared, and what the turns cost."""
    if report.pairing == "turns":
        return list(_about_turns(report))
    whole = f"The trials of a block were run whole, one after the other: {report.pairing_reason}."
    return [whole] if report.pairing_reason else []


def _about_turns(report: Report) -> Iterator[str]:
    legs = named_legs(report)
    plan = f", {_slices(report.turns)}" if report.turns else ""
    yield f"The legs of a block took turns{plan}: {report.pairing_reason}."
    if report.turns:
        yield report.turns.reason
    yield "Before the blocks, each leg was trained once alone (the survey), where proof, memory and numerics are from."
    pairs = [_pairs(leg.name, found) for leg, found in zip(legs[1:], report.comparisons, strict=False)]
    yield f"Pairs of neighbouring slices that the speedup comes from: {'; '.join(pairs)}."
    if picked_up := _of_each(legs, lambda leg: leg.pick_up_ratio, ".2f"):
        yield f"Time of the first step after a wait, which is not compared, over that of the others: {picked_up}."
    if waiting := _of_each(legs, lambda leg: leg.waiting_cpu_cores, ".2g"):
        yield f"CPU cores that a leg used while it waited: {waiting}."


def _slices(turns: TurnsPlan) -> str:
    return f"{turns.rounds} slices of {turns.slice_steps} steps each ({turns.slice_seconds:.2g} s)"


def _pairs(name: str, found: Comparison) -> str:
    disturbed = f" ({found.disturbed_pairs} more were disturbed and left out)" if found.disturbed_pairs else ""
    return f"{name} {found.pairs or 0}{disturbed}"


def _of_each(legs: list[NamedLeg], read: Callable[[Leg], float | None], digits: str) -> str:
    """Lists a figure of every leg that has it."""
    figures = [(leg.name, read(leg.leg)) for leg in legs]
    return ", ".join(f"{name} {figure:{digits}}" for name, figure in figures if figure is not None)
