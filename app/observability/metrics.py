"""The metrics of `GET /metrics`: those of this process from memory, all others from the database."""

import platform
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Histogram, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from typing_extensions import override

from app.store.history import totals
from app.store.history.snapshot import Snapshot
from halftime import __version__

#: Bucket bounds in seconds, up to the longest wait that a client may request, and beyond it for streams.
HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The metrics of one app."""

    def __init__(self) -> None:
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        build = Info("halftime_build", "Versions of Halftime and Python.", registry=self._process)
        build.info({"version": __version__, "python": platform.python_version()})
        self.http_durations = Histogram(
            "halftime_http_request_duration_seconds",
            "Seconds from a request's arrival to the last byte of its response, in this process.",
            ["method", "route", "status"],
            buckets=HTTP_BUCKETS,
            registry=self._process,
        )

    def expose(self, accept: str, snapshot: Snapshot | None) -> tuple[bytes, str]:
        """Returns the metrics in the client's preferred text format, and its media type.

        `snapshot` is None if the database does not answer.
        """
        try:
            encode, media_type = choose_encoder(accept)
        except TypeError:  # the version in the header is not a number
            encode, media_type = choose_encoder("")
        return encode(_Families([*self._process.collect(), *_of_database(snapshot)])), media_type


class _Families(Collector):
    """A collector of metrics that have been read already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    @override
    def collect(self) -> list[Metric]:
        return self._families


def _of_database(snapshot: Snapshot | None) -> Iterator[Metric]:
    up = snapshot is not None
    yield GaugeMetricFamily(
        "halftime_database_up", "1 if PostgreSQL answers, else 0 and the metrics below are absent.", up
    )
    if snapshot is None:
        return
    yield from _queues(snapshot)
    yield from _outcomes(snapshot)
    yield from _workers(snapshot)


def _queues(snapshot: Snapshot) -> Iterator[Metric]:
    depth = GaugeMetricFamily("halftime_queue_depth", "Benchmarks waiting for a worker.", labels=["queue"])
    oldest = GaugeMetricFamily(
        "halftime_queue_oldest_age_seconds",
        "Seconds that the oldest queued benchmark has waited; 0 for an empty queue.",
        labels=["queue"],
    )
    for queue, waiting in snapshot.queues.items():
        depth.add_metric([queue], waiting.depth)
        oldest.add_metric([queue], waiting.oldest_age_seconds)
    active = GaugeMetricFamily("halftime_benchmarks_active", "Benchmarks claimed by a worker.", labels=["status"])
    for status, count in snapshot.active.items():
        active.add_metric([status], count)
    yield from (depth, oldest, active)


def _outcomes(snapshot: Snapshot) -> Iterator[Metric]:
    finished = CounterMetricFamily(
        "halftime_benchmarks_finished",
        "Benchmarks that have ended, with the failure code if failed and the verdict if succeeded.",
        labels=["status", "code", "verdict"],
    )
    for labels, count in snapshot.of(totals.FINISHED).items():
        finished.add_metric(labels, count)
    failures = CounterMetricFamily("halftime_trial_failures", "Trials without a result, by code.", labels=["code"])
    for labels, count in snapshot.of(totals.TRIAL_FAILURES).items():
        failures.add_metric(labels, count)
    wait = HistogramMetricFamily("halftime_queue_wait_seconds", "Seconds from queueing to the claim by a worker.")
    run = HistogramMetricFamily(
        "halftime_run_duration_seconds",
        "Seconds from the claim to the end, by precision of the first candidate and by status.",
        labels=["precision", "status"],
    )
    _fill(wait, snapshot, totals.QUEUE_WAIT)
    _fill(run, snapshot, totals.RUN_DURATION)
    yield from (finished, failures, wait, run)


def _fill(family: HistogramMetricFamily, snapshot: Snapshot, histogram: totals.Histogram) -> None:
    """Adds the cumulative bucket counts that Prometheus expects, computed from counts per bucket."""
    counts = snapshot.of(histogram.buckets)
    for labels, total in snapshot.of(histogram.sums).items():
        bounds = (*histogram.bounds, float("inf"))
        sums = accumulate(counts.get((*labels, str(bound)), 0.0) for bound in bounds)
        buckets = list(zip(map(floatToGoString, bounds), sums, strict=True))
        family.add_metric(labels, buckets=buckets, sum_value=total)


def _workers(snapshot: Snapshot) -> Iterator[Metric]:
    workers = GaugeMetricFamily(
        "halftime_workers", "Workers of the last seven days by current state.", labels=["device", "state"]
    )
    age = GaugeMetricFamily(
        "halftime_worker_heartbeat_age_seconds",
        "Seconds since the oldest last heartbeat of the workers in a state.",
        labels=["state"],
    )
    for (device, state), count in snapshot.workers.items():
        workers.add_metric([device, state], count)
    for state, seconds in snapshot.heartbeat_ages_seconds.items():
        age.add_metric([state], seconds)
    yield from (workers, age)
