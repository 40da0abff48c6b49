"""Running totals for `GET /metrics`, updated in the transaction of the counted change.

They outlive restarts and deletions, are the same in every API process, and make it unnecessary to read finished
benchmarks for a scrape.
"""

from dataclasses import dataclass
from itertools import product
from typing import get_args

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.store.database.tables import BenchmarkRow, TotalRow
from halftime.contract.precisions import DEFAULT_CANDIDATE, PrecisionName
from halftime.contract.report.failure import FailureCode
from halftime.contract.report.report import Verdict
from halftime.contract.resources.benchmark import TERMINAL

#: Held from the first count to the end of the transaction, so that transactions with several counts cannot deadlock.
ADVISORY_LOCK = 7_105_113

#: Labels: status, failure code, verdict; the latter two empty where they do not apply.
FINISHED = "benchmarks_finished"

#: Labels: failure code.
TRIAL_FAILURES = "trial_failures"


@dataclass(frozen=True)
class Histogram:
    """A sum of values, and a count per bucket of the values up to its bound and above the previous bound."""

    name: str
    bounds: tuple[float, ...]

    @property
    def sums(self) -> str:
        """The name of the totals of values."""
        return f"{self.name}_sum"

    @property
    def buckets(self) -> str:
        """The name of the counts; the bucket's bound is their last label."""
        return f"{self.name}_bucket"

    def observation(self, value: float, *labels: str) -> "list[Count]":
        """Returns the counts that one value adds."""
        bound = next(bound for bound in (*self.bounds, float("inf")) if value <= bound)
        return [Count(self.sums, labels, value), Count(self.buckets, (*labels, str(bound)))]


#: Seconds from entering the queue to a worker's claim.
QUEUE_WAIT = Histogram("queue_wait", (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0))

#: Seconds from the last claim to the end. Labels: precision of the first candidate, status.
RUN_DURATION = Histogram(
    "run_duration", (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14_400.0)
)

#: Label values shown as 0 before their first count, so that the first one is an increase.
ZEROS: dict[str, list[tuple[str, ...]]] = {
    FINISHED: [
        ("cancelled", "", ""),
        *product(["succeeded"], [""], get_args(Verdict)),
        *product(["failed"], FailureCode, [""]),
    ],
    TRIAL_FAILURES: [(code,) for code in FailureCode],
    QUEUE_WAIT.sums: [()],
    RUN_DURATION.sums: list(product(get_args(PrecisionName), sorted(TERMINAL))),
}


@dataclass(frozen=True)
class Count:
    """An amount to add to one total."""

    name: str
    labels: tuple[str, ...]
    value: float = 1


async def add(session: AsyncSession, *counts: Count) -> None:
    """Adds to totals. Other counters wait for the caller's transaction, so this should be its last operation."""
    await session.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
    rows = [{"name": count.name, "labels": list(count.labels), "value": count.value} for count in counts]
    statement = insert(TotalRow).values(rows)
    raised = {"value": TotalRow.value + statement.excluded.value}
    await session.execute(statement.on_conflict_do_update(index_elements=[TotalRow.name, TotalRow.labels], set_=raised))


async def count_end(session: AsyncSession, row: BenchmarkRow) -> None:
    """Counts a benchmark that has just ended, and how long it ran if it did."""
    code, verdict = (row.failure or {}).get("code", ""), (row.summary or {}).get("verdict", "")
    counts = [Count(FINISHED, (row.status, code, verdict))]
    if row.started_at is not None and row.finished_at is not None:
        seconds = (row.finished_at - row.started_at).total_seconds()
        counts += RUN_DURATION.observation(seconds, _precision(row), row.status)
    await add(session, *counts)


def _precision(row: BenchmarkRow) -> str:
    """Returns the precision of the first candidate; if the request names none, the default of the worker's device."""
    candidates: list[str] | None = row.request["config"].get("candidates")
    return candidates[0] if candidates else DEFAULT_CANDIDATE["cuda" if row.worker_gpu else "cpu"]
