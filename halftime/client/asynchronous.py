"""The asynchronous client."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import anyio
import httpx
from httpx_sse import EventSource, ServerSentEvent

from halftime.client import endpoints, operations, stream
from halftime.client.errors import ConnectionLost
from halftime.client.operations import Operation, Pause, Yielded
from halftime.client.request import ApiRequest, refusal
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
    define: Callable[P, ApiRequest[Answer]],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, Answer]]:
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return await self.send(define(*args, **kwargs))

    return with_signature_of(define, method)


def _iterated(
    define: Callable[P, Operation[Answer]],
) -> Callable[Concatenate["AsyncClient", P], AsyncIterator[Answer]]:
    def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Answer]:
        return self.perform(define(*args, **kwargs))

    return with_signature_of(define, method)


def _performed(
    define: Callable[P, Operation[Answer]],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, Answer]]:
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return await anext(self.perform(define(*args, **kwargs)))

    return with_signature_of(define, method)


class AsyncClient:
    """An asynchronous client for use in one event loop. Every method may raise the errors in `errors.py`.

    `server` defaults to HALFTIME_SERVER or http://127.0.0.1:8000, `api_key` to HALFTIME_API_KEY (empty: none).
    `timeout_seconds` limits the time without data from a server that is not asked to hold its response. Requests that
    fail temporarily and can safely be repeated are retried up to `retries` times. Raises ValueError for an invalid
    address or key.
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
        """Closes the client's connections."""
        await self._http.aclose()

    submit = _sent(endpoints.submit)
    preview = _sent(endpoints.preview)
    get = _sent(endpoints.get)
    list = _sent(endpoints.list_page)
    iterate = _iterated(operations.iterate)
    wait = _performed(operations.wait)
    watch = _iterated(operations.watch)
    run = _performed(operations.run)
    cancel = _sent(endpoints.cancel)
    rerun = _sent(endpoints.rerun)
    delete = _sent(endpoints.delete)
    report = _sent(endpoints.report)
    report_text = _sent(endpoints.report_text)
    trace = _sent(endpoints.trace)
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
        """Returns whether the server and its database answer; tries once."""
        try:
            return (await self._http.get("/readyz")).is_success
        except httpx.RequestError:
            return False

    async def events(self, benchmark_id: str, after: int = 0) -> AsyncIterator[Event | Progress]:
        """Yields a benchmark's events and progress as they happen, until it has ended.

        A broken stream is resumed where it was.
        """
        feed = EventFeed(benchmark_id, after)
        while True:
            frame, frames = await self._opened(feed)
            async with contextlib.aclosing(frames):
                with contextlib.suppress(ConnectionLost):
                    while True:
                        item = feed.read(frame)
                        if item is not None:
                            yield item
                        if feed.ended:
                            return
                        frame = await anext(frames)
            await anyio.sleep(stream.RECONNECT_SECONDS)

    async def send(self, request: ApiRequest[Answer]) -> Answer:
        """Sends a request, with retries, and returns its result."""
        async for attempt in attempts(request, self._server.retries):
            with attempt, transport_errors():
                return request.result(await self._http.send(self._server.build_request(self._http, request)))
        raise AssertionError("the last attempt returns or raises")

    async def perform(self, operation: Operation[Answer]) -> AsyncIterator[Answer]:
        """Performs the steps of an operation and yields its values."""
        result: object = None
        with contextlib.suppress(StopIteration):
            while True:
                step = operation.send(result)
                result = None
                match step:
                    case ApiRequest():
                        result = await self.send(step)
                    case Pause():
                        await anyio.sleep(step.seconds)
                    case Yielded():
                        yield step.value

    async def _opened(self, feed: EventFeed) -> tuple[ServerSentEvent, AsyncGenerator[ServerSentEvent]]:
        """Returns the first frame of a connection, and the following ones; an attempt without a frame has failed."""
        async for attempt in attempts(feed.request(), self._server.retries):
            with attempt:
                frames = self._frames(feed)
                return await anext(frames), frames
        raise AssertionError("the last attempt returns or raises")

    async def _frames(self, feed: EventFeed) -> AsyncGenerator[ServerSentEvent]:
        """Yields the frames of one connection. Raises ConnectionLost when it ends."""
        with transport_errors():
            response = await self._http.send(self._server.build_request(self._http, feed.request()), stream=True)
            async with contextlib.aclosing(response):
                if not response.is_success:
                    await response.aread()
                    raise refusal(response)
                async for frame in EventSource(response).aiter_sse():
                    yield frame
        raise ConnectionLost("the stream ended")
