"""`/benchmarks/{id}/events`: the events of a benchmark, in pages or as a stream of server-sent events."""

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
from app.routes.use_cases import benchmarks as use_cases
from app.store import benchmarks, events
from app.store.database.connection import Database
from app.store.events import StoredEvent
from app.store.notifications import Notifications, Watch
from halftime.contract.events import EventPage
from halftime.contract.resources.benchmark import TERMINAL
from halftime.contract.strict import Output

router = APIRouter(prefix="/benchmarks", tags=["reports"])

MEDIA_TYPES = {"json": "application/json", "sse": "text/event-stream"}

#: Interval of keep-alive comments: proxies may close a stream that is silent for longer. A stream whose key was revoked
#: ends within it.
KEEP_ALIVE_SECONDS = 15.0

#: Largest `integer` of PostgreSQL.
LAST_SEQ = 2**31 - 1

#: Most events that a stream reads at once.
BATCH_SIZE = 500

AfterSeq = Annotated[int, Query(ge=0, le=LAST_SEQ, description="`next_after` of the previous page")]
LastEventId = Annotated[str | None, Header(description="where an interrupted stream resumes", max_length=20)]


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
    notifications: NotificationsDep,
    gate: AccessGateDep,
    reader: Reader,
    accept: Annotated[str, Header()] = "*/*",
    last_event_id: LastEventId = None,
    after: AfterSeq = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="events per page; a stream ignores it")] = 200,
) -> Response:
    """Lists the events of a benchmark, oldest first, or streams them. `Last-Event-ID` resumes a stream."""
    is_stream = choose(accept, MEDIA_TYPES) == "sse"
    async with database.reading() as session:
        await use_cases.get(session, benchmark_id)
        if not is_stream:
            items = await events.list_after(session, benchmark_id, after, limit)
            page = _Page(items=items, next_after=items[-1].seq if items else after)
            return Response(page.model_dump_json(), media_type=MEDIA_TYPES["json"], headers={"Vary": "Accept"})
    start = min(int(last_event_id), LAST_SEQ) if last_event_id and last_event_id.isdecimal() else after
    stream = _stream(database, notifications, gate, reader, benchmark_id, start)
    headers = {"Cache-Control": "no-cache", "Vary": "Accept", "X-Accel-Buffering": "no"}
    return EventSourceResponse(stream, headers=headers)


class _Page(Output):
    """An `EventPage` of events that are sent as they are stored."""

    items: list[StoredEvent]
    next_after: int


@dataclass(frozen=True)
class _Batch:
    """The next frames of a stream."""

    frames: bytes
    last_seq: int
    #: Whether more events may be stored already.
    is_full: bool
    ended: bool


async def _stream(
    database: Database, notifications: Notifications, gate: AccessGate, reader: Caller, benchmark_id: UUID, seq: int
) -> AsyncIterator[bytes]:
    """Yields frames until the benchmark ends or the reader's key is revoked.

    A slow client delays only its own stream, and nothing is buffered for it.
    """
    with notifications.watch(benchmark_id) as watch:
        while await gate.is_still_valid(reader):
            batch = await next_batch(watch, database, benchmark_id, seq)
            seq = batch.last_seq
            if batch.frames:
                yield batch.frames
            if batch.ended:
                return
            if not batch.is_full:
                changed = False
                # The gate may answer from its cache, so the key may have been revoked KEYS_REMEMBERED_SECONDS ago.
                with anyio.move_on_after(KEEP_ALIVE_SECONDS - KEYS_REMEMBERED_SECONDS):
                    await watch.changed()
                    changed = True
                if not changed:
                    yield KEEPALIVE_COMMENT


async def next_batch(watch: Watch, database: Database, benchmark_id: UUID, seq: int) -> _Batch:
    """Reads the next events once for all streams at the same position."""

    async def load() -> _Batch:
        async with database.reading() as session:
            # The status is read first: once it is terminal, its last event is stored. Only trackers add events later.
            row = await benchmarks.get(session, benchmark_id)
            items = await events.list_after(session, benchmark_id, seq, BATCH_SIZE)
        last_seq = items[-1].seq if items else seq
        frames = [_frame(event) for event in items]
        is_full = len(items) == BATCH_SIZE
        status = row.status if row else "deleted"
        ended = not is_full and (row is None or row.status in TERMINAL)
        if ended:
            frames.append(format_sse_event(event="done", data_str=json.dumps({"status": status})))
        elif row is not None and row.progress is not None:
            frames.append(format_sse_event(event="progress", data_str=json.dumps(row.progress)))
        return _Batch(b"".join(frames), last_seq, is_full, ended)

    return await watch.read(("events", seq), load)


def _frame(event: StoredEvent) -> bytes:
    return format_sse_event(event=event.kind, id=str(event.seq), data_str=event.model_dump_json())
