"""Figures in the words of advice."""


def milliseconds(seconds: float) -> str:
    """A duration, to three digits."""
    return f"{1000 * seconds:.3g} ms"


def percent(share: float) -> str:
    """A share, to the percent."""
    return f"{100 * share:.0f} %"


def gibibytes(count: float) -> str:
    """A number of bytes in GiB, to three digits."""
    return f"{count / 2**30:.3g} GiB"
