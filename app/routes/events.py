"""What happened to a benchmark: page by page, or as a stream of server-sent events while it happens."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import anyio
from fastapi import APIRouter, Header, Query, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from app import errors
from app.routes.http.auth import KEYS_REMEMBERED_SECONDS, AccessGate, AccessGateDep, Caller, Reader
from app.routes.http.dependencies import BenchmarkId, DatabaseDep, NotificationsDep
from app.routes.http.negotiation import choose
from app.routes.http.not_found import not_found
from app.store import benchmarks, events
from app.store.database.connection import Database
from app.store.events import StoredEvent
from app.store.notifications import Notifications, Watch
from halftime.contract.events import EventPage
from halftime.contract.resources.benchmark import TERMINAL
from halftime.contract.strict import Output

router = APIRouter(prefix="/benchmarks", tags=["reports"])

MEDIA_TYPES = {"json": "application/json", "sse": "text/event-stream"}

#: A proxy that sees nothing for longer may close the stream. One of a revoked key has ended by then.
KEEP_ALIVE_SECONDS = 15.0

#: As PostgreSQL counts them.
LAST_SEQ = 2**31 - 1

#: Events in one piece of a stream.
PIECE = 500

AfterSeq = Annotated[int, Query(ge=0, le=LAST_SEQ, description="`next_after` of the page before")]
LastEventId = Annotated[str | None, Header(description="where a broken stream goes on", max_length=20)]


@router.get(
    "/{benchmark_id}/events",
    responses={
        200: {
            "description": "A page of events; with `Accept: text/event-stream` each as it happens, `progress` between "
            "them, and a last event `done`. In the stream a frame's `event` is the event's `kind`, its `id` the `seq`, "
            "and its `data` an `Event` as JSON, which holds what the schema of its kind says; the `data` of `progress` "
            'is a `Progress`, and that of `done` is `{"status": …}`. A newer server may send kinds and fields that are '
            "not in this document: ignore what you do not know",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/EventPage"}},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        },
        **errors.problem_responses(
            errors.NotFound, errors.Purged, errors.NotAcceptable, errors.Invalid, errors.DatabaseUnavailable
        ),
    },
    response_model=EventPage,
)
async def list_events(
    benchmark_id: BenchmarkId,
    database: DatabaseDep,
    changes: NotificationsDep,
    door: AccessGateDep,
    reader: Reader,
    accept: Annotated[str, Header()] = "*/*",
    last_event_id: LastEventId = None,
    after: AfterSeq = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="of a page; a stream has no end but the benchmark's")] = 200,
) -> Response:
    """Lists what happened to a benchmark, oldest first, or streams it. `Last-Event-ID` resumes a stream."""
    streamed = choose(accept, MEDIA_TYPES) == "sse"
    async with database.reading() as session:
        if await benchmarks.get(session, benchmark_id) is None:
            raise await not_found(session, benchmark_id)
        if not streamed:
            found = await events.after(session, benchmark_id, after, limit)
            page = _Page(items=found, next_after=found[-1].seq if found else after)
            return Response(page.model_dump_json(), media_type=MEDIA_TYPES["json"], headers={"Vary": "Accept"})
    begin = min(int(last_event_id), LAST_SEQ) if last_event_id and last_event_id.isdecimal() else after
    stream = _stream(database, changes, door, reader, benchmark_id, begin)
    headers = {"Cache-Control": "no-cache", "Vary": "Accept", "X-Accel-Buffering": "no"}
    return EventSourceResponse(stream, headers=headers)


class _Page(Output):
    """An `EventPage` of events that are sent as they are stored."""

    items: list[StoredEvent]
    next_after: int


@dataclass(frozen=True)
class _Piece:
    """What comes next in a stream."""

    frames: bytes
    last_seq: int
    #: More is there already.
    is_full: bool
    ended: bool


async def _stream(
    database: Database, changes: Notifications, door: AccessGate, reader: Caller, benchmark_id: UUID, seq: int
) -> AsyncIterator[bytes]:
    """Frames until the benchmark's end, or until the reader's key is revoked.

    A client that reads slowly holds up its own stream, and nothing piles up.
    """
    with changes.watch(benchmark_id) as watch:
        while await door.may_stay(reader):
            piece = await _next_piece(watch, database, benchmark_id, seq)
            seq = piece.last_seq
            if piece.frames:
                yield piece.frames
            if piece.ended:
                return
            if not piece.is_full:
                changed = False
                # What the door said of the key may be as old as it remembers.
                with anyio.move_on_after(KEEP_ALIVE_SECONDS - KEYS_REMEMBERED_SECONDS):
                    await watch.changed()
                    changed = True
                if not changed:
                    yield KEEPALIVE_COMMENT


async def _next_piece(watch: Watch, database: Database, benchmark_id: UUID, seq: int) -> _Piece:
    """Read once for all streams that are at the same place."""

    async def load() -> _Piece:
        async with database.reading() as session:
            # The status first: what ended has written its end by then. What trackers did may still come, after it.
            row = await benchmarks.get(session, benchmark_id)
            found = await events.after(session, benchmark_id, seq, PIECE)
        last_seq = found[-1].seq if found else seq
        frames = [_frame(event) for event in found]
        is_full = len(found) == PIECE
        status = row.status if row else "deleted"
        ended = not is_full and (row is None or row.status in TERMINAL)
        if ended:
            frames.append(format_sse_event(event="done", data_str=json.dumps({"status": status})))
        elif row is not None and row.progress is not None:
            frames.append(format_sse_event(event="progress", data_str=json.dumps(row.progress)))
        return _Piece(b"".join(frames), last_seq, is_full, ended)

    return await watch.read(("piece", seq), load)


def _frame(event: StoredEvent) -> bytes:
    return format_sse_event(event=event.kind, id=str(event.seq), data_str=event.model_dump_json())
