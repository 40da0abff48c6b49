"""The client that awaits its answers."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import anyio
import httpx
from httpx_sse import EventSource, ServerSentEvent

from halftime.client import endpoints, operations, stream
from halftime.client.errors import ConnectionLost
from halftime.client.operations import Flow, Pause, Yielded
from halftime.client.request import ApiCall, refusal
from halftime.client.retrying import attempts
from halftime.client.server import Server
from halftime.client.signatures import with_signature_of
from halftime.client.stream import EventFeed
from halftime.client.transport import transport_errors
from halftime.contract.events import Event
from halftime.contract.resources.benchmark import Progress

P = ParamSpec("P")
Answer = TypeVar("Answer")


def _sent(
    describe: Callable[P, ApiCall[Answer]],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, Answer]]:
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return await self.send(describe(*args, **kwargs))

    return with_signature_of(describe, method)


def _iterated(describe: Callable[P, Flow[Answer]]) -> Callable[Concatenate["AsyncClient", P], AsyncIterator[Answer]]:
    def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Answer]:
        return self.follow(describe(*args, **kwargs))

    return with_signature_of(describe, method)


def _followed(
    describe: Callable[P, Flow[Answer]],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, Answer]]:
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return await anext(self.follow(describe(*args, **kwargs)))

    return with_signature_of(describe, method)


class AsyncClient:
    """Awaits its answers; for one event loop. Every method may raise what `errors.py` draws.

    `server` is HALFTIME_SERVER or http://127.0.0.1:8000 unless given, `api_key` HALFTIME_API_KEY (empty: none).
    `timeout_seconds` is for the silence of a server that is not asked to wait; what fails in passing, and can safely
    be repeated, is tried `retries` more times. Raises ValueError for an address or a key that cannot be used.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 30.0,
        retries: int = 5,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._server = Server.of(server, api_key, timeout_seconds, retries)
        self._http = httpx.AsyncClient(
            base_url=self._server.address, headers=self._server.headers(), timeout=timeout_seconds, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    submit = _sent(endpoints.submit)
    preview = _sent(endpoints.preview)
    get = _sent(endpoints.get)
    list = _sent(endpoints.list_page)
    iterate = _iterated(operations.iterate)
    wait = _followed(operations.wait)
    watch = _iterated(operations.watch)
    run = _followed(operations.run)
    cancel = _sent(endpoints.cancel)
    rerun = _sent(endpoints.rerun)
    delete = _sent(endpoints.delete)
    report = _sent(endpoints.report)
    report_text = _sent(endpoints.report_text)
    compare = _sent(endpoints.compare)
    logs = _sent(endpoints.logs)
    deliveries = _sent(endpoints.deliveries)
    replay = _sent(endpoints.replay)
    past_events = _iterated(operations.past_events)
    submit_sweep = _sent(endpoints.submit_sweep)
    sweep = _sent(endpoints.sweep)
    sweep_text = _sent(endpoints.sweep_text)
    watch_sweep = _iterated(operations.watch_sweep)
    workers = _sent(endpoints.workers)
    drain = _sent(endpoints.drain)
    undrain = _sent(endpoints.undrain)
    models = _sent(endpoints.models)
    version = _sent(endpoints.version)

    async def ready(self) -> bool:
        """Says whether the server answers and has its database; tries once."""
        try:
            return (await self._http.get("/readyz")).is_success
        except httpx.RequestError:
            return False

    async def events(self, benchmark_id: str, after: int = 0) -> AsyncIterator[Event | Progress]:
        """Gives what happens to a benchmark as it happens, its progress between, until it has ended.

        A broken stream goes on where it was.
        """
        feed = EventFeed(benchmark_id, after)
        while True:
            frame, frames = await self._opened(feed)
            async with contextlib.aclosing(frames):
                with contextlib.suppress(ConnectionLost):
                    while True:
                        heard = feed.hear(frame)
                        if heard is not None:
                            yield heard
                        if feed.ended:
                            return
                        frame = await anext(frames)
            await anyio.sleep(stream.RECONNECT_SECONDS)

    async def send(self, call: ApiCall[Answer]) -> Answer:
        """Makes a call, with retries."""
        async for attempt in attempts(call, self._server.retries):
            with attempt, transport_errors():
                return call.answer(await self._http.send(self._server.request(self._http, call)))
        raise AssertionError("the last attempt returns or raises")

    async def follow(self, flow: Flow[Answer]) -> AsyncIterator[Answer]:
        """Does what a flow says, and gives what it finds."""
        answer: object = None
        with contextlib.suppress(StopIteration):
            while True:
                step = flow.send(answer)
                answer = None
                match step:
                    case ApiCall():
                        answer = await self.send(step)
                    case Pause():
                        await anyio.sleep(step.seconds)
                    case Yielded():
                        yield step.value

    async def _opened(self, feed: EventFeed) -> tuple[ServerSentEvent, AsyncGenerator[ServerSentEvent]]:
        """The first frame of a connection, and those to come: an attempt that brings none has failed."""
        async for attempt in attempts(feed.call(), self._server.retries):
            with attempt:
                frames = self._frames(feed)
                return await anext(frames), frames
        raise AssertionError("the last attempt returns or raises")

    async def _frames(self, feed: EventFeed) -> AsyncGenerator[ServerSentEvent]:
        """Those of one connection. Raises ConnectionLost where it ends."""
        with transport_errors():
            response = await self._http.send(self._server.request(self._http, feed.call()), stream=True)
            async with contextlib.aclosing(response):
                if not response.is_success:
                    await response.aread()
                    raise refusal(response)
                async for frame in EventSource(response).aiter_sse():
                    yield frame
        raise ConnectionLost("the stream ended")
