"""Both clients behind one face, and a network that breaks, for tests of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from functools import partial

import anyio.to_thread

from halftime.client import AsyncClient, Client


class InThread:
    """A `Client`, awaited: what it gives one by one comes as a list."""

    def __init__(self, *arguments, **options):
        self.client = Client(*arguments, **options)

    def __getattr__(self, name):
        async def method(*arguments, **options):
            return await anyio.to_thread.run_sync(partial(self._call, name, *arguments, **options))

        return method

    def _call(self, name, *arguments, **options):
        answer = getattr(self.client, name)(*arguments, **options)
        return list(answer) if isinstance(answer, Iterator) else answer


class Awaited:
    """An `AsyncClient`, the same."""

    def __init__(self, *arguments, **options):
        self.client = AsyncClient(*arguments, **options)

    def __getattr__(self, name):
        async def method(*arguments, **options):
            answer = getattr(self.client, name)(*arguments, **options)
            return [item async for item in answer] if isinstance(answer, AsyncIterator) else await answer

        return method


KINDS = {"sync": InThread, "async": Awaited}


@contextlib.asynccontextmanager
async def cutting(live, marker):
    """The address of a proxy whose first connection breaks just before the marker would pass to the client."""
    connections = []
    tasks = set()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        connections.append(writer)
        first = len(connections) == 1
        upstream = await asyncio.open_connection(live.base_url.host, live.base_url.port)
        forth = asyncio.create_task(_pass_on(reader, upstream[1]))
        passed = b""
        while chunk := await upstream[0].read(65_536):
            passed += chunk
            if first and marker in passed:
                writer.write(chunk[: max(0, len(chunk) - len(passed) + passed.index(marker))])
                break
            writer.write(chunk)
            await writer.drain()
        forth.cancel()
        for end in (writer, upstream[1]):
            end.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(reader, writer):
    while chunk := await reader.read(65_536):
        writer.write(chunk)
    writer.close()
