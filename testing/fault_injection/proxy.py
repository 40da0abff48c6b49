"""A TCP proxy before PostgreSQL that can drop connections, or stall them as a cut cable does."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

#: Bytes read from a connection at once.
CHUNK_BYTES = 65_536


class Proxy:
    """Forwards TCP from an address of this machine to a loopback port, in a thread with its own event loop."""

    def __init__(self, host: str, target_port: int) -> None:
        self.host, self._target_port = host, target_port
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._flowing, self._stopped = asyncio.Event(), asyncio.Event()
        self._flowing.set()

    def stall(self) -> None:
        """Stop forwarding without any signal: no FIN, no reset; new connections hang too."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def resume(self) -> None:
        """Forward what arrived meanwhile, in order, and everything after it."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def drop(self) -> None:
        """Reset all current connections."""
        self._loop.call_soon_threadsafe(self._drop)

    def _drop(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    def run(self, ready: threading.Event) -> None:
        """Run the event loop until `stop`."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(ready))

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)

    async def _serve(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._forward, self.host, 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stopped.wait()
        server.close()
        self._flowing.set()
        self._drop()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await self._flowing.wait()
            with contextlib.suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
                self._open.add(back)
                try:
                    await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
                finally:
                    self._open.discard(back)
                    back.transport.abort()
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Forward one direction to its end, then close the other."""
        while chunk := await source.read(CHUNK_BYTES):
            await self._flowing.wait()
            sink.write(chunk)
            await sink.drain()
        await self._flowing.wait()
        sink.close()


@contextlib.contextmanager
def proxied(host: str, target_port: int) -> Iterator[Proxy]:
    """Run a proxy."""
    proxy, ready = Proxy(host, target_port), threading.Event()
    thread = threading.Thread(target=proxy.run, args=(ready,), name=f"proxy on {host}")
    thread.start()
    try:
        ready.wait()
        yield proxy
    finally:
        proxy.stop()
        thread.join()
