"""The benchmark resource as an HTTP answer: read now, or once it has ended."""

import asyncio
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

import anyio
from fastapi import Request, Response

from app.routes.http.etags import etag, matches
from app.routes.http.not_found import not_found
from app.store import benchmarks
from app.store.benchmarks import BenchmarkInQueue
from app.store.database.connection import Database
from app.store.notifications import Notifications
from app.store.resources import to_benchmark
from halftime.contract.resources.benchmark import TERMINAL

#: Longest that an answer is held.
LONGEST_WAIT_SECONDS = 30

#: Seconds between two polls that serve a client well.
RETRY_AFTER = {"queued": "2", "running": "2", "cancelling": "1"}


@dataclass
class Answer:
    """The resource as it was at one moment."""

    found: BenchmarkInQueue

    @property
    def status(self) -> str:
        """The benchmark's."""
        return self.found.row.status

    def response(self, status_code: int = 200, if_none_match: str | None = None, **headers: str) -> Response:
        """The whole of it, or 304 where the client has it already."""
        tag = etag(self.found.row, self.found.place)
        headers |= {"ETag": tag, "Cache-Control": "no-cache"}
        if self.status in RETRY_AFTER:
            headers["Retry-After"] = RETRY_AFTER[self.status]
        if matches(if_none_match, tag):
            return Response(status_code=304, headers=headers)
        return Response(self._body, status_code, headers, media_type="application/json")

    @cached_property
    def _body(self) -> bytes:
        """Written once for all who waited for it."""
        return to_benchmark(self.found.row, self.found.place).model_dump_json().encode()


async def read(database: Database, benchmark_id: UUID) -> Answer:
    """The benchmark now. Raises NotFound, Purged."""
    async with database.reading() as session:
        found = await benchmarks.find(session, benchmark_id)
        if found is None:
            raise await not_found(session, benchmark_id)
    return Answer(found)


async def read_when_ended(
    request: Request, database: Database, changes: Notifications, benchmark_id: UUID, seconds: float
) -> Answer:
    """The benchmark as soon as it is terminal, or as it is after some seconds. Raises NotFound, Purged.

    A client that goes away is waited for no longer.
    """

    async def load() -> Answer:
        return await read(database, benchmark_id)

    with changes.watch(benchmark_id) as watch, anyio.move_on_after(seconds) as waiting:
        gone = asyncio.create_task(_cancel_when_gone(request, waiting))
        try:
            while True:
                answer = await watch.read("resource", load)
                if answer.status in TERMINAL:
                    return answer
                await watch.changed()
        finally:
            gone.cancel()
    return await load()


async def _cancel_when_gone(request: Request, waiting: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    waiting.cancel()
