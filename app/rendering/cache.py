"""A cache of rendered reports, which keeps slow rendering out of the event loop."""

from dataclasses import dataclass, field

import anyio.to_process
import anyio.to_thread
from anyio import CapacityLimiter
from async_lru import alru_cache

from app.rendering.formats import Rendering, render

#: Renderings that are cached. Concurrent requests for the same one share it.
CACHE_SIZE = 8

#: Renderings with charts, which need 120 MB of libraries.
WITH_CHARTS: frozenset[Rendering] = frozenset({"html", "part"})

#: Size of a stored report above which another process parses it: parsing holds the interpreter lock.
LARGE_BYTES = 2**18

#: Timeout of a rendering in the other process: one that hangs must not block those that wait for it.
TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class _Request:
    """A report to render. Only `tag` takes part in comparisons, as the key of the cache."""

    tag: str
    rendering: Rendering = field(compare=False)
    stored: bytes = field(compare=False, repr=False)


class RenderCache:
    """Renders and caches reports, for one event loop.

    Charts and large reports are rendered in another process, one at a time: drawing would block all other threads.
    anyio starts the process when it is needed and ends it after five idle minutes.
    """

    def __init__(self) -> None:
        self._one_at_a_time = CapacityLimiter(1)
        self._rendered = alru_cache(CACHE_SIZE)(self._render)

    async def get(self, tag: str, stored: bytes, rendering: Rendering) -> bytes:
        """Returns a stored report in a format. `tag` identifies both: the `ETag` of the response."""
        if rendering == "json":
            return await anyio.to_thread.run_sync(render, stored, rendering)
        return await self._rendered(_Request(tag, rendering, stored))

    async def _render(self, request: _Request) -> bytes:
        if request.rendering not in WITH_CHARTS and len(request.stored) <= LARGE_BYTES:
            return await anyio.to_thread.run_sync(render, request.stored, request.rendering)
        async with self._one_at_a_time:
            with anyio.fail_after(TIMEOUT_SECONDS):
                # The timeout kills the process; the next request starts another.
                return await anyio.to_process.run_sync(render, request.stored, request.rendering, cancellable=True)
