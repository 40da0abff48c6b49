"""Long polling: holds a response until a resource reaches a state, for a limited time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from fastapi import Request

from app.store.notifications import Watch

#: Longest time for which a response is held.
LONGEST_WAIT_SECONDS = 30

Resource = TypeVar("Resource")


async def wait_until(
    request: Request,
    watch: Watch,
    load: Callable[[], Awaitable[Resource]],
    is_done: Callable[[Resource], bool],
    seconds: float,
) -> Resource:
    """Returns the resource once it is done, or as it is after `seconds` or when the client disconnects.

    Loads it again after every change that `watch` reports; all waiters on one topic share a reading.
    """
    with anyio.move_on_after(seconds) as waiting:
        disconnect = asyncio.create_task(_cancel_on_disconnect(request, waiting))
        try:
            while True:
                resource = await watch.read("resource", load)
                if is_done(resource):
                    return resource
                await watch.changed()
        finally:
            disconnect.cancel()
    return await load()


async def _cancel_on_disconnect(request: Request, waiting: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    waiting.cancel()
