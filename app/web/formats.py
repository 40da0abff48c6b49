"""How pages word amounts and moments."""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from app.reports.wording import interval
from halftime.contract.events import Event

#: What an event is called; others are shown by their kind.
EVENTS = {
    "queued": "Queued",
    "started": "Started",
    "inspected": "Model looked at",
    "inspection_failed": "The model could not be looked at",
    "trial_finished": "Trial finished",
    "trial_failed": "Trial failed",
    "block_finished": "Block finished",
    "blocks_reused": "Kept of the attempt before",
    "blocks_discarded": "Discarded of the attempt before",
    "cancelling": "Told to stop",
    "handed_back": "Back in the queue: its worker was stopped",
    "device_sick": "The device of its worker is sick",
    "worker_lost": "Back in the queue: its worker was lost",
    "fault": "Something went wrong in Halftime",
    "tracking_logged": "Logged to a tracker",
    "tracking_failed": "Not logged to a tracker",
    "succeeded": "Succeeded",
    "failed": "Failed",
    "cancelled": "Cancelled",
}

_CODE = re.compile(r"`([^`\n]+)`")

#: What is told of an event, as far as its data has it.
TOLD = ("leg", "worker", "tracker", "code", "detail", "reason", "fault")

#: What is counted in it.
COUNTED = {
    "blocks": "blocks",
    "unpaired": "without the other of their pair",
    "measured_otherwise": "measured otherwise",
}


def of_bytes(count: int) -> str:
    """Bytes in the largest binary unit below them."""
    if count < 1024:
        return f"{count} B"
    power = min(int(math.log2(count)) // 10, 4)
    power += power < 4 and count >= 1000 * 1024**power
    return f"{count / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def of_seconds(seconds: float) -> str:
    """Seconds in the two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def of_step_seconds(seconds: float) -> str:
    """The time of one step in milliseconds."""
    milliseconds = 1000 * seconds
    digits = 3 if milliseconds < 1 else 2 if milliseconds < 10 else 1 if milliseconds < 100 else 0
    return f"{milliseconds:,.{digits}f} ms"


def of_moment(moment: datetime) -> str:
    """A moment for people, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def of_machine_moment(moment: datetime) -> str:
    """A moment for the `datetime` of a `<time>`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def of_event(event: Event) -> str:
    """What happened, in a line."""
    said = EVENTS.get(event.kind, event.kind.replace("_", " ").capitalize())
    data = event.fields()
    told = [f"block {data['block'] + 1}"] if isinstance(data.get("block"), int) else []
    told += [f"attempt {data['attempt']}"] if "attempt" in data else []
    told += [f"{data[name]} {words}" for name, words in COUNTED.items() if data.get(name)]
    told += [str(data[name]) for name in TOLD if data.get(name) is not None]
    return f"{said}: {', '.join(told)}" if told else said


def of_prose(text: str) -> Markup:
    """Text with what stands between backticks as code; all of it is escaped."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 # escaped a moment ago


def of_sentence(text: str) -> str:
    """A sentence to be set large: no line of it begins with a unit."""
    return text.replace(" %", "\u00a0%")


def of_json(value: dict[str, Any]) -> str:
    """JSON to be read."""
    return json.dumps(value, indent=2, ensure_ascii=False)


#: What templates call them.
FILTERS = {
    "interval": interval,
    "bytes": of_bytes,
    "duration": of_seconds,
    "step_time": of_step_seconds,
    "moment": of_moment,
    "machine_moment": of_machine_moment,
    "event": of_event,
    "pretty": of_json,
    "prose": of_prose,
    "sentence": of_sentence,
}
