"""Moments and spans of time in words."""

from datetime import datetime

#: Seconds from which on a unit is used, its name, and its seconds.
_UNITS = ((172_800, "days", 86_400), (7200, "hours", 3600), (120, "minutes", 60), (10, "seconds", 1))

#: An older moment is told by its date.
_OLD_SECONDS = 30 * 86_400


def ago(moment: datetime, now: datetime) -> str:
    """How long ago: "3 minutes ago"; the date for what is older than a month."""
    seconds = (now - moment).total_seconds()
    if seconds >= _OLD_SECONDS:
        return f"{moment:%Y-%m-%d}"
    return next((f"{seconds // size:.0f} {name} ago" for least, name, size in _UNITS if seconds >= least), "just now")


def duration(seconds: float) -> str:
    """A span as a clock shows it: "0:07", "1:02:03"."""
    minutes, left = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
