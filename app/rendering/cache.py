"""Reports in the format that a client asks for, made without holding up anyone else."""

from dataclasses import dataclass, field

import anyio.to_process
import anyio.to_thread
from anyio import CapacityLimiter
from async_lru import alru_cache

from app.rendering.formats import Rendering, render

#: RenderCache that are kept. The same one is made once, however many ask for it meanwhile.
KEPT = 8

#: Those with pictures.
DRAWN: frozenset[Rendering] = frozenset({"html", "part"})

#: Of a stored report: a longer one is parsed in a process apart, as parsing lets no other thread run.
LARGE_BYTES = 2**18


#: For one: a process that hangs must not keep all that come after it waiting.
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class _Asked:
    """The same as another of the same tag."""

    tag: str
    rendering: Rendering = field(compare=False)
    stored: bytes = field(compare=False, repr=False)


class RenderCache:
    """Makes and keeps them, for one event loop.

    What draws would let no other thread run, and holds 120 MB: it is loaded in a process apart, one at a time, which
    anyio starts when it is needed and ends after five idle minutes.
    """

    def __init__(self) -> None:
        self._one_at_a_time = CapacityLimiter(1)
        self._rendered = alru_cache(KEPT)(self._render)

    async def of(self, tag: str, stored: bytes, rendering: Rendering) -> bytes:
        """The report in a format. `tag` stands for both: the `ETag` of the answer."""
        if rendering == "json":
            return await anyio.to_thread.run_sync(render, stored, rendering)
        return await self._rendered(_Asked(tag, rendering, stored))

    async def _render(self, asked: _Asked) -> bytes:
        if asked.rendering not in DRAWN and len(asked.stored) <= LARGE_BYTES:
            return await anyio.to_thread.run_sync(render, asked.stored, asked.rendering)
        async with self._one_at_a_time:
            with anyio.fail_after(PATIENCE_SECONDS):
                # The process is killed then; the next one who asks gets another.
                return await anyio.to_process.run_sync(render, asked.stored, asked.rendering, cancellable=True)
