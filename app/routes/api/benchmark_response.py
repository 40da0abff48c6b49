"""The benchmark resource as an HTTP response: read now, or held until the benchmark ends."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from fastapi import Request, Response

from app.routes.http.etags import matches
from app.routes.http.long_poll import wait_until
from app.routes.use_cases import benchmarks
from app.routes.use_cases.retry_after import POLL_SECONDS
from app.store.benchmarks import BenchmarkInQueue
from app.store.database.connection import Database
from app.store.database.tables import BenchmarkRow
from app.store.notifications import Notifications
from app.store.resources import to_benchmark
from halftime.contract.resources.benchmark import TERMINAL, QueuePlace


def etag(row: BenchmarkRow, place: QueuePlace) -> str:
    """Returns a weak entity tag: it changes with the row's version and with the queue facts that the body shows."""
    note = "-" + hashlib.sha256(place.note.encode()).hexdigest()[:8] if place.note else ""
    return f'W/"{row.version}-{place.position}-{place.workers_online}{note}"'


@dataclass
class BenchmarkResponse:
    """The resource as it was when it was read; many clients that wait for one benchmark share it."""

    benchmark: BenchmarkInQueue

    @property
    def status(self) -> str:
        """The benchmark's status."""
        return self.benchmark.row.status

    def response(self, status_code: int = 200, if_none_match: str | None = None, **headers: str) -> Response:
        """Returns the whole resource, or 304 where the client already has this version."""
        tag = etag(self.benchmark.row, self.benchmark.place)
        headers |= {"ETag": tag, "Cache-Control": "no-cache"}
        if self.status in POLL_SECONDS:
            headers["Retry-After"] = str(POLL_SECONDS[self.status])
        if matches(if_none_match, tag):
            return Response(status_code=304, headers=headers)
        return Response(self._body, status_code, headers, media_type="application/json")

    @cached_property
    def _body(self) -> bytes:
        """Serialized once for all clients that share the reading."""
        return to_benchmark(self.benchmark.row, self.benchmark.place).model_dump_json().encode()


async def read(database: Database, benchmark_id: UUID) -> BenchmarkResponse:
    """Reads the benchmark now. Raises NotFound, Purged."""
    async with database.reading() as session:
        return BenchmarkResponse(await benchmarks.find(session, benchmark_id))


async def read_when_ended(
    request: Request, database: Database, notifications: Notifications, benchmark_id: UUID, seconds: float
) -> BenchmarkResponse:
    """Reads the benchmark once it is terminal, or as it is after `seconds`. Raises NotFound, Purged."""

    async def load() -> BenchmarkResponse:
        return await read(database, benchmark_id)

    def is_terminal(response: BenchmarkResponse) -> bool:
        return response.status in TERMINAL

    with notifications.watch(benchmark_id) as watch:
        return await wait_until(request, watch, load, is_terminal, seconds)
