"""Entity tags of resources and of rendered reports (RFC 9110, section 8.8.3)."""

import hashlib

from app.store.database.tables import BenchmarkRow
from halftime.contract.resources.benchmark import QueuePlace


def etag(row: BenchmarkRow, place: QueuePlace) -> str:
    """Notifications with the row's version, and with what the answer shows of the queue."""
    noted = "-" + hashlib.sha256(place.note.encode()).hexdigest()[:8] if place.note else ""
    return f'W/"{row.version}-{place.position}-{place.workers_online}{noted}"'


def strong_etag(stored: bytes, *rendering: str) -> str:
    """Of what is made from stored bytes by a certain rendering."""
    return f'"{hashlib.sha256(stored + "|".join(rendering).encode()).hexdigest()[:32]}"'


def matches(if_none_match: str | None, tag: str) -> bool:
    """Whether the client has this version already: weak comparison, as RFC 9110 section 13.1.2 asks."""
    known = {candidate.strip().removeprefix("W/") for candidate in (if_none_match or "").split(",")}
    return tag.removeprefix("W/") in known or "*" in known
