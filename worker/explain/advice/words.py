"""Figures in the words of advice."""

from humanize import naturalsize


def milliseconds(seconds: float) -> str:
    """A duration, to three digits."""
    return f"{1000 * seconds:.3g} ms"


def percent(share: float) -> str:
    """A share, to the percent."""
    return f"{100 * share:.0f} %"


def size(count: float) -> str:
    """A number of bytes in the largest binary unit below it."""
    return naturalsize(count, binary=True)
