"""The client that waits for its answers."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

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


def _sent(describe: Callable[P, ApiCall[Answer]]) -> Callable[Concatenate["Client", P], Answer]:
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return self.send(describe(*args, **kwargs))

    return with_signature_of(describe, method)


def _iterated(describe: Callable[P, Flow[Answer]]) -> Callable[Concatenate["Client", P], Iterator[Answer]]:
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Answer]:
        return self.follow(describe(*args, **kwargs))

    return with_signature_of(describe, method)


def _followed(describe: Callable[P, Flow[Answer]]) -> Callable[Concatenate["Client", P], Answer]:
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return next(self.follow(describe(*args, **kwargs)))

    return with_signature_of(describe, method)


class Client:
    """Waits for its answers; threads may share one. Every method may raise what `errors.py` draws.

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
        """Closes its connections."""
        self._http.close()

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

    def ready(self) -> bool:
        """Says whether the server answers and has its database; tries once."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.RequestError:
            return False

    def events(self, benchmark_id: str, after: int = 0) -> Iterator[Event | Progress]:
        """Gives what happens to a benchmark as it happens, its progress between, until it has ended.

        A broken stream goes on where it was.
        """
        feed = EventFeed(benchmark_id, after)
        while True:
            frame, frames = self._opened(feed)
            with contextlib.closing(frames), contextlib.suppress(ConnectionLost):
                while True:
                    heard = feed.hear(frame)
                    if heard is not None:
                        yield heard
                    if feed.ended:
                        return
                    frame = next(frames)
            time.sleep(stream.RECONNECT_SECONDS)

    def send(self, call: ApiCall[Answer]) -> Answer:
        """Makes a call, with retries."""
        for attempt in attempts(call, self._server.retries):
            with attempt, transport_errors():
                return call.answer(self._http.send(self._server.request(self._http, call)))
        raise AssertionError("the last attempt returns or raises")

    def follow(self, flow: Flow[Answer]) -> Iterator[Answer]:
        """Does what a flow says, and gives what it finds."""
        answer: object = None
        with contextlib.suppress(StopIteration):
            while True:
                step = flow.send(answer)
                answer = None
                match step:
                    case ApiCall():
                        answer = self.send(step)
                    case Pause():
                        time.sleep(step.seconds)
                    case Yielded():
                        yield step.value

    def _opened(self, feed: EventFeed) -> tuple[ServerSentEvent, Generator[ServerSentEvent]]:
        """The first frame of a connection, and those to come: an attempt that brings none has failed."""
        for attempt in attempts(feed.call(), self._server.retries):
            with attempt:
                frames = self._frames(feed)
                return next(frames), frames
        raise AssertionError("the last attempt returns or raises")

    def _frames(self, feed: EventFeed) -> Generator[ServerSentEvent]:
        """Those of one connection. Raises ConnectionLost where it ends."""
        with transport_errors():
            response = self._http.send(self._server.request(self._http, feed.call()), stream=True)
            with contextlib.closing(response):
                if not response.is_success:
                    response.read()
                    raise refusal(response)
                yield from EventSource(response).iter_sse()
        raise ConnectionLost("the stream ended")
