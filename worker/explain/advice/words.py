"""Figures in the words of advice, with nothing but Python: a record of a GPU's first contact has no other package."""

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def milliseconds(seconds: float) -> str:
    """A duration, to three digits."""
    return f"{1000 * seconds:.3g} ms"


def percent(share: float) -> str:
    """A share, to the percent."""
    return f"{100 * share:.0f} %"


def size(count: float) -> str:
    """A number of bytes in the largest binary unit below it."""
    power = 0
    while count >= 1024 and power < len(UNITS) - 1:
        count, power = count / 1024, power + 1
    return f"{count:.1f} {UNITS[power]}"
