"""Many clients of one benchmark, with event streams and long polls: delay until all of them know its end."""

import asyncio
import statistics
import time
from urllib.parse import urlsplit

import httpx
import psutil

from testing.api_process import MIB, served_api, temporary_folder

STREAMS = POLLS = 500
ROUNDS = 3

#: Clients that connect together.
AT_ONCE = 50

#: Timeout of every client.
PATIENCE_SECONDS = 60.0

REQUEST = {"model": {"kind": "mlp"}, "config": {"device": "cpu"}}


def measure() -> dict[str, object]:
    """Seconds from the request that ends the benchmark until each client knows it, and memory of the API."""
    with temporary_folder() as folder, served_api(folder) as (api, http):
        at_start = api.memory_info().rss
        rounds = [asyncio.run(_round(http, api)) for _ in range(ROUNDS)]
        after = api.memory_info().rss
    return {
        "streams": STREAMS,
        "polls": POLLS,
        "rounds": rounds,
        "resident_mib": {"at_start": round(at_start / MIB, 1), "after": round(after / MIB, 1)},
    }


async def _round(http: httpx.Client, api: psutil.Process) -> dict[str, float]:
    response = await asyncio.to_thread(lambda: http.post("/benchmarks", json=REQUEST).raise_for_status())
    place = response.headers["Location"]
    polls = [_Watcher(http, f"{place}?wait=30", b"cancelled", "application/json") for _ in range(POLLS)]
    streams = [_Watcher(http, f"{place}/events", b"event: done", "text/event-stream") for _ in range(STREAMS)]
    everyone = streams + polls
    for first in range(0, len(everyone), AT_ONCE):
        await asyncio.gather(*(watcher.connect() for watcher in everyone[first : first + AT_ONCE]))
    arrivals = [asyncio.create_task(watcher.arrival()) for watcher in everyone]
    await asyncio.sleep(1)  # all of them wait by then
    waiting = api.memory_info().rss
    began = time.perf_counter()
    await asyncio.to_thread(lambda: http.post(f"{place}/cancel").raise_for_status())
    moments = await asyncio.wait_for(asyncio.gather(*arrivals), PATIENCE_SECONDS)
    seconds = [moment - began for moment in moments]
    return {
        "streams_median_seconds": statistics.median(seconds[:STREAMS]),
        "streams_last_seconds": max(seconds[:STREAMS]),
        "polls_median_seconds": statistics.median(seconds[STREAMS:]),
        "polls_last_seconds": max(seconds[STREAMS:]),
        "resident_mib_with_all": round(waiting / MIB, 1),
    }


class _Watcher:
    """One client with hand-written HTTP: a thousand of a library's clients would dominate the measurement."""

    def __init__(self, http: httpx.Client, path: str, end_text: bytes, accept: str) -> None:
        where = urlsplit(str(http.base_url))
        self._host, self._port, self._path = where.hostname, where.port, path
        self._end_text, self._accept = end_text, accept

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        head = f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nAccept: {self._accept}\r\n\r\n"
        self._writer.write(head.encode())
        await self._writer.drain()

    async def arrival(self) -> float:
        """Time at which the text that marks the end arrived."""
        received = b""
        while self._end_text not in received:
            more = await self._reader.read(65_536)
            assert more, f"closed without the end: {received[-500:]!r}"
            received += more
        moment = time.perf_counter()
        self._writer.close()
        return moment
