"""Events as a server sends them, and their data as a worker writes it."""

from datetime import UTC, datetime

from halftime.contract.events import EVENT, EVENTS

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def event(kind, data, seq=1, created_at=MOMENT):
    return EVENT.validate_python({"seq": seq, "created_at": created_at, "kind": kind, "data": data})


def events(*pairs, created_at=MOMENT):
    """Events in order, from (kind, data) pairs."""
    return [event(kind, data, seq, created_at) for seq, (kind, data) in enumerate(pairs, start=1)]


def data_of(kind, data):
    return EVENTS[kind].model_fields["data"].annotation(**data)
