"""Relative times and durations as text."""

from datetime import datetime, timedelta

import humanize

#: Older times are shown as a date.
_OLD = timedelta(days=30)


def ago(moment: datetime, now: datetime) -> str:
    """Returns how long ago a time was ("3 minutes ago"); its date if that is 30 days or more."""
    if now - moment >= _OLD:
        return f"{moment:%Y-%m-%d}"
    return humanize.naturaltime(min(moment, now), when=now, minimum_unit="seconds")


def duration(seconds: float) -> str:
    """Returns a duration in clock format: "0:07", "1:02:03"."""
    minutes, left = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
