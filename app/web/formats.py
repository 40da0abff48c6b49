"""Template filters: bytes, durations, times and events as text."""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from app.reports.text.wording import interval
from halftime.contract.events import Event

#: Titles of events; other events are shown by their kind.
EVENTS = {
    "queued": "Queued",
    "started": "Started",
    "inspected": "Model inspected",
    "inspection_failed": "Model inspection failed",
    "trial_finished": "Trial finished",
    "trial_failed": "Trial failed",
    "block_finished": "Block finished",
    "blocks_reused": "Blocks reused from the previous attempt",
    "blocks_discarded": "Blocks of the previous attempt discarded",
    "cancelling": "Cancellation requested",
    "handed_back": "Requeued: its worker was stopped",
    "device_sick": "Its worker's device failed its health checks",
    "worker_lost": "Its worker was lost",
    "fault": "Internal error in Halftime",
    "tracking_logged": "Logged to a tracker",
    "tracking_failed": "Logging to a tracker failed",
    "succeeded": "Succeeded",
    "failed": "Failed",
    "cancelled": "Cancelled",
}

_CODE = re.compile(r"`([^`\n]+)`")

#: Trials that are in no block of the comparison, by their phase.
PHASES = {"survey": "survey", "capacity": "search for the largest batch", "verify": "measurement of advice"}

#: Fields of an event's data that are shown, if present.
DETAILS = ("leg", "worker", "tracker", "code", "detail", "reason", "fault")

#: Counts in an event's data that are shown, if not zero, with their words.
COUNTS = {
    "blocks": "blocks",
    "unpaired": "with only one leg of their pair",
    "measured_otherwise": "measured under different conditions",
}


def format_bytes(count: int) -> str:
    """Formats bytes in the largest binary unit below the value."""
    if count < 1024:
        return f"{count} B"
    power = min(int(math.log2(count)) // 10, 4)
    power += power < 4 and count >= 1000 * 1024**power
    return f"{count / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def format_duration(seconds: float) -> str:
    """Formats seconds in the two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def format_step_time(seconds: float) -> str:
    """Formats the time of one step in milliseconds."""
    milliseconds = 1000 * seconds
    digits = 3 if milliseconds < 1 else 2 if milliseconds < 10 else 1 if milliseconds < 100 else 0
    return f"{milliseconds:,.{digits}f} ms"


def format_time(time: datetime) -> str:
    """Formats a time in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def format_iso_time(time: datetime) -> str:
    """Formats a time for the `datetime` attribute of a `<time>` element."""
    return time.astimezone(UTC).isoformat(timespec="seconds")


def format_event(event: Event) -> str:
    """Describes an event in one line."""
    title = EVENTS.get(event.kind, event.kind.replace("_", " ").capitalize())
    data = event.fields()
    details = []
    if isinstance(data.get("block"), int):
        details = [PHASES.get(str(data.get("phase")), f"block {data['block'] + 1}")]
    details += [f"attempt {data['attempt']}"] if "attempt" in data else []
    details += [f"{data[name]} {words}" for name, words in COUNTS.items() if data.get(name)]
    details += [str(data[name]) for name in DETAILS if data.get(name) is not None]
    return f"{title}: {', '.join(details)}" if details else title


def format_prose(text: str) -> Markup:
    """Escapes text and marks the parts between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 # escaped in this line


def format_sentence(text: str) -> str:
    """Replaces the space before a percent sign, so that no line starts with the unit."""
    return text.replace(" %", "\u00a0%")


def format_json(value: dict[str, Any]) -> str:
    """Formats JSON with indentation."""
    return json.dumps(value, indent=2, ensure_ascii=False)


#: The filters by their names in templates.
FILTERS = {
    "interval": interval,
    "bytes": format_bytes,
    "duration": format_duration,
    "step_time": format_step_time,
    "utc": format_time,
    "iso_time": format_iso_time,
    "event": format_event,
    "pretty": format_json,
    "prose": format_prose,
    "sentence": format_sentence,
}
