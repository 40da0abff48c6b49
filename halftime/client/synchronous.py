"""The synchronous client."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

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


def _sent(define: Callable[P, ApiRequest[Answer]]) -> Callable[Concatenate["Client", P], Answer]:
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return self.send(define(*args, **kwargs))

    return with_signature_of(define, method)


def _iterated(define: Callable[P, Operation[Answer]]) -> Callable[Concatenate["Client", P], Iterator[Answer]]:
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Answer]:
        return self.perform(define(*args, **kwargs))

    return with_signature_of(define, method)


def _performed(define: Callable[P, Operation[Answer]]) -> Callable[Concatenate["Client", P], Answer]:
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return next(self.perform(define(*args, **kwargs)))

    return with_signature_of(define, method)


class Client:
    """A synchronous client, which threads may share. Every method may raise the errors in `errors.py`.

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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._server = Server.of(server, api_key, timeout_seconds, retries)
        self._http = httpx.Client(
            base_url=self._server.address, headers=self._server.headers(), timeout=timeout_seconds, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the client's connections."""
        self._http.close()

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

    def ready(self) -> bool:
        """Returns whether the server and its database answer; tries once."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.RequestError:
            return False

    def events(self, benchmark_id: str, after: int = 0) -> Iterator[Event | Progress]:
        """Yields a benchmark's events and progress as they happen, until it has ended.

        A broken stream is resumed where it was.
        """
        feed = EventFeed(benchmark_id, after)
        while True:
            frame, frames = self._opened(feed)
            with contextlib.closing(frames), contextlib.suppress(ConnectionLost):
                while True:
                    item = feed.read(frame)
                    if item is not None:
                        yield item
                    if feed.ended:
                        return
                    frame = next(frames)
            time.sleep(stream.RECONNECT_SECONDS)

    def send(self, request: ApiRequest[Answer]) -> Answer:
        """Sends a request, with retries, and returns its result."""
        for attempt in attempts(request, self._server.retries):
            with attempt, transport_errors():
                return request.result(self._http.send(self._server.build_request(self._http, request)))
        raise AssertionError("the last attempt returns or raises")

    def perform(self, operation: Operation[Answer]) -> Iterator[Answer]:
        """Performs the steps of an operation and yields its values."""
        result: object = None
        with contextlib.suppress(StopIteration):
            while True:
                step = operation.send(result)
                result = None
                match step:
                    case ApiRequest():
                        result = self.send(step)
                    case Pause():
                        time.sleep(step.seconds)
                    case Yielded():
                        yield step.value

    def _opened(self, feed: EventFeed) -> tuple[ServerSentEvent, Generator[ServerSentEvent]]:
        """Returns the first frame of a connection, and the following ones; an attempt without a frame has failed."""
        for attempt in attempts(feed.request(), self._server.retries):
            with attempt:
                frames = self._frames(feed)
                return next(frames), frames
        raise AssertionError("the last attempt returns or raises")

    def _frames(self, feed: EventFeed) -> Generator[ServerSentEvent]:
        """Yields the frames of one connection. Raises ConnectionLost when it ends."""
        with transport_errors():
            response = self._http.send(self._server.build_request(self._http, feed.request()), stream=True)
            with contextlib.closing(response):
                if not response.is_success:
                    response.read()
                    raise refusal(response)
                yield from EventSource(response).iter_sse()
        raise ConnectionLost("the stream ended")
