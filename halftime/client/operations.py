"""Calls of several requests, described once for both clients: a flow says what to do next, a client does it."""

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, TypeAlias, TypeVar, Unpack

from halftime.client import endpoints
from halftime.client.endpoints import BenchmarkFilters, PollResult
from halftime.client.errors import BenchmarkFailed, WaitTimeout
from halftime.client.notebook import ChartedReport
from halftime.client.request import ApiCall
from halftime.contract.events import Event
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.benchmark import TERMINAL, Benchmark, BenchmarkItem
from halftime.contract.resources.sweep import Sweep

Value = TypeVar("Value")

#: As long as a server holds an answer.
LONGEST_HOLD_SECONDS = 30.0

#: Of the largest page.
PAGE = 200


@dataclass(frozen=True)
class Pause:
    """Nothing to do for a while."""

    seconds: float


@dataclass(frozen=True)
class Yielded(Generic[Value]):
    """Something for the caller."""

    value: Value


#: What it yields is to be done; a call's answer is sent back in.
Flow: TypeAlias = Generator[ApiCall[Any] | Pause | Yielded[Value], Any, None]


def watch(benchmark_id: str, *, every_seconds: float | None = None) -> Flow[Benchmark]:
    """Gives the benchmark again whenever it has changed, until it has ended; asks as often as the server likes."""
    etag = None
    while True:
        look = yield endpoints.look(benchmark_id, etag, 0, None)
        etag = look.etag
        if look.benchmark is not None:
            yield Yielded(look.benchmark)
            if look.benchmark.status in TERMINAL:
                return
        yield Pause(look.retry_after_seconds if every_seconds is None else every_seconds)


def wait(
    benchmark_id: str, *, timeout_seconds: float | None = None, cancel_on_timeout: bool = False, check: bool = False
) -> Flow[Benchmark]:
    """Gives the benchmark when it has ended.

    Raises WaitTimeout if it has not in time, and BenchmarkFailed if it is to be checked and has no report.
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
) -> Flow[ChartedReport]:
    """Submits a benchmark and gives its report. Raises BenchmarkFailed, WaitTimeout."""
    submitted = yield endpoints.submit(request, idempotency_key=idempotency_key)
    ended = yield from _ended(submitted.id, timeout_seconds, cancel_on_timeout)
    if ended.status != "succeeded":
        raise BenchmarkFailed(ended)
    report = yield endpoints.report(ended.id)
    yield Yielded(report)


def iterate(**filters: Unpack[BenchmarkFilters]) -> Flow[BenchmarkItem]:
    """Gives every benchmark that the filters let through, newest first, over all pages."""
    cursor = None
    while True:
        page = yield endpoints.list_page(cursor=cursor, limit=PAGE, **filters)
        for item in page.items:
            yield Yielded(item)
        cursor = page.next_cursor
        if cursor is None:
            return


def past_events(benchmark_id: str, after: int = 0) -> Flow[Event]:
    """Gives what happened to a benchmark until now, over all pages."""
    while True:
        page = yield endpoints.event_page(benchmark_id, after=after, limit=PAGE)
        for event in page.items:
            yield Yielded(event)
        if len(page.items) < PAGE:
            return
        after = page.next_after


def watch_sweep(sweep_id: str, *, every_seconds: float = 2.0) -> Flow[Sweep]:
    """Gives the sweep again and again, until none of its benchmarks has anything left to do."""
    while True:
        sweep = yield endpoints.sweep(sweep_id)
        yield Yielded(sweep)
        if sweep.finished:
            return
        yield Pause(every_seconds)


def _ended(
    benchmark_id: str, timeout_seconds: float | None, cancel_on_timeout: bool
) -> Generator[ApiCall[Any] | Pause, Any, Benchmark]:
    """Long polls: the server holds each answer until the benchmark has ended."""
    deadline = math.inf if timeout_seconds is None else monotonic() + timeout_seconds
    benchmark: Benchmark | None = None
    etag: str | None = None
    while True:
        asked_at = monotonic()
        left_seconds = max(0.0, deadline - asked_at)
        within_seconds = None if timeout_seconds is None else left_seconds
        look: PollResult = yield endpoints.look(
            benchmark_id, etag, min(LONGEST_HOLD_SECONDS, left_seconds), within_seconds
        )
        benchmark, etag = look.benchmark or benchmark, look.etag
        assert benchmark is not None, "the first look has no ETag, so it is answered in full"
        if benchmark.status in TERMINAL:
            return benchmark
        now = monotonic()
        if now < deadline:
            # A server that holds its answers is asked again at once.
            yield Pause(max(0.0, min(asked_at + look.retry_after_seconds, deadline) - now))
        elif not cancel_on_timeout or (yield endpoints.cancel_unless_ended(benchmark_id)):
            raise WaitTimeout(benchmark, timeout_seconds or 0.0)
