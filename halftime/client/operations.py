"""Methods that send several requests, defined once for both clients: an operation yields steps, a client does them."""

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, TypeAlias, TypeVar, Unpack

from halftime.client import endpoints
from halftime.client.endpoints import BenchmarkFilters, PollResult
from halftime.client.errors import BenchmarkFailed, WaitTimeout
from halftime.client.notebook import ChartedReport
from halftime.client.request import ApiRequest
from halftime.contract.events import Event
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.benchmark import TERMINAL, Benchmark, BenchmarkItem
from halftime.contract.resources.sweep import Sweep

Value = TypeVar("Value")

#: The longest time that the server holds a response.
LONGEST_HOLD_SECONDS = 30.0

#: Size of the largest page.
PAGE_SIZE = 200


@dataclass(frozen=True)
class Pause:
    """Asks the client to wait."""

    seconds: float


@dataclass(frozen=True)
class Yielded(Generic[Value]):
    """A value for the caller."""

    value: Value


#: A generator of steps; the client sends the result of a request back into it.
Operation: TypeAlias = Generator[ApiRequest[Any] | Pause | Yielded[Value], Any, None]


def watch(benchmark_id: str, *, every_seconds: float | None = None) -> Operation[Benchmark]:
    """Yields the benchmark whenever it has changed, until it has ended. The server sets the default interval."""
    etag = None
    while True:
        result: PollResult = yield endpoints.poll(benchmark_id, etag, 0, None)
        etag = result.etag
        if result.benchmark is not None:
            yield Yielded(result.benchmark)
            if result.benchmark.status in TERMINAL:
                return
        yield Pause(result.retry_after_seconds if every_seconds is None else every_seconds)


def wait(
    benchmark_id: str, *, timeout_seconds: float | None = None, cancel_on_timeout: bool = False, check: bool = False
) -> Operation[Benchmark]:
    """Waits until the benchmark has ended and returns it.

    Raises WaitTimeout if it has not ended in time and, with `check`, BenchmarkFailed if it has no report.
    """
    benchmark = yield from _ended(benchmark_id, timeout_seconds, cancel_on_timeout)
    if check and benchmark.status != "succeeded":
        raise BenchmarkFailed(benchmark)
    yield Yielded(benchmark)


def run(
    request: BenchmarkRequest | Mapping[str, Any],
    *,
    idempotency_key: str | None = None,
    timeout_seconds: float | None = None,
    cancel_on_timeout: bool = False,
) -> Operation[ChartedReport]:
    """Submits a benchmark, waits, and returns its report.

    Raises BenchmarkFailed if it has no report, and WaitTimeout if it has not ended in time.
    """
    submitted = yield endpoints.submit(request, idempotency_key=idempotency_key)
    ended = yield from _ended(submitted.id, timeout_seconds, cancel_on_timeout)
    if ended.status != "succeeded":
        raise BenchmarkFailed(ended)
    report = yield endpoints.report(ended.id)
    yield Yielded(report)


def iterate(**filters: Unpack[BenchmarkFilters]) -> Operation[BenchmarkItem]:
    """Yields every benchmark that matches the filters, newest first, over all pages."""
    cursor = None
    while True:
        page = yield endpoints.list_page(cursor=cursor, limit=PAGE_SIZE, **filters)
        for item in page.items:
            yield Yielded(item)
        cursor = page.next_cursor
        if cursor is None:
            return


def past_events(benchmark_id: str, after: int = 0) -> Operation[Event]:
    """Yields the past events of a benchmark, over all pages."""
    while True:
        page = yield endpoints.event_page(benchmark_id, after=after, limit=PAGE_SIZE)
        for event in page.items:
            yield Yielded(event)
        if len(page.items) < PAGE_SIZE:
            return
        after = page.next_after


def watch_sweep(sweep_id: str, *, every_seconds: float = 2.0) -> Operation[Sweep]:
    """Yields the sweep periodically, until all its benchmarks have ended."""
    while True:
        sweep = yield endpoints.sweep(sweep_id)
        yield Yielded(sweep)
        if sweep.finished:
            return
        yield Pause(every_seconds)


def _ended(
    benchmark_id: str, timeout_seconds: float | None, cancel_on_timeout: bool
) -> Generator[ApiRequest[Any] | Pause, Any, Benchmark]:
    """Long-polls until the benchmark has ended: the server holds each response. Raises WaitTimeout."""
    deadline = math.inf if timeout_seconds is None else monotonic() + timeout_seconds
    benchmark: Benchmark | None = None
    etag: str | None = None
    while True:
        sent_at = monotonic()
        left_seconds = max(0.0, deadline - sent_at)
        within_seconds = None if timeout_seconds is None else left_seconds
        result: PollResult = yield endpoints.poll(
            benchmark_id, etag, min(LONGEST_HOLD_SECONDS, left_seconds), within_seconds
        )
        benchmark, etag = result.benchmark or benchmark, result.etag
        assert benchmark is not None, "the first poll has no ETag, so its response has the benchmark"
        if benchmark.status in TERMINAL:
            return benchmark
        now = monotonic()
        if now < deadline:
            # No pause after a response that was held at least this long.
            yield Pause(max(0.0, min(sent_at + result.retry_after_seconds, deadline) - now))
        elif not cancel_on_timeout or (yield endpoints.cancel_unless_ended(benchmark_id)):
            raise WaitTimeout(benchmark, timeout_seconds or 0.0)
