"""Invariants of the database after all jobs have ended, whatever faults were injected."""

from collections.abc import Callable

from testing.fault_injection.database import View
from testing.fault_injection.fleet import Fleet
from testing.fault_injection.jobs import Clients

#: Queries whose result must be empty.
QUERIES = {
    "a benchmark has not ended": "SELECT id, status FROM benchmarks WHERE finished_at IS NULL",
    "a benchmark has not exactly one terminal event, which is its last": """
        SELECT b.id, array_agg(e.kind ORDER BY e.seq)
        FROM benchmarks b JOIN events e ON e.benchmark_id = b.id GROUP BY b.id
        HAVING count(*) FILTER (WHERE e.kind IN ('succeeded', 'failed', 'cancelled')) <> 1
            OR (array_agg(e.kind ORDER BY e.seq DESC))[1] <> b.status""",
    "events have a gap": """
        SELECT b.id, b.last_event, array_agg(e.seq ORDER BY e.seq)
        FROM benchmarks b LEFT JOIN events e ON e.benchmark_id = b.id GROUP BY b.id
        HAVING count(*) <> b.last_event OR min(e.seq) <> 1 OR max(e.seq) <> b.last_event""",
    "a succeeded benchmark has no report, or another one has": """
        SELECT id, status FROM benchmarks WHERE (status = 'succeeded') <> (report_gzip IS NOT NULL)""",
    "something happened after the end": "SELECT benchmark_id, wrong FROM watched",
    "a benchmark was submitted twice, or by nobody": """
        SELECT b.id FROM benchmarks b LEFT JOIN idempotency_keys k ON k.benchmark_id = b.id GROUP BY b.id
        HAVING count(k.key) <> 1""",
    "a lease is held": "SELECT id, lease_expires_at FROM benchmarks WHERE lease_expires_at IS NOT NULL",
    "an entry is left in the queue": """
        SELECT id, task_name, status, attempts FROM procrastinate_jobs
        WHERE task_name = 'run_benchmark' OR (status = 'doing' AND worker_id IS NULL)""",
    "a worker is shown as busy": "SELECT id, current_benchmark FROM workers WHERE current_benchmark IS NOT NULL",
    "an advisory lock is held": "SELECT pid, classid, objid FROM pg_locks WHERE locktype = 'advisory'",
    "a transaction is left open": "SELECT pid, query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'",
}

TOO_MANY = "SELECT id, attempt FROM benchmarks WHERE attempt > %s"


def violations(view: View, fleet: Fleet, max_attempts: int) -> list[str]:
    """Invariants violated at this moment, in words; the fleet still runs."""
    results = [(name, view.query(query)) for name, query in QUERIES.items()]
    results += [("a benchmark had too many attempts", view.query(TOO_MANY, max_attempts))]
    lines = [f"{name}: {rows}" for name, rows in results if rows]
    lines += [f"a process is left over: {stray}" for stray in fleet.strays()]
    return lines


def overwritten(clients: Clients, until: Callable[[Callable[[], object]], object]) -> list[str]:
    """Reports that differ from what a client first read."""
    return [
        benchmark_id
        for benchmark_id, first in clients.reports.items()
        if until(lambda i=benchmark_id: clients.report(i)) != first
    ]


def unknown(view: View, clients: Clients) -> list[str]:
    """Benchmarks that only the clients know, or only the database."""
    accepted = set(clients.accepted.values())
    stored = {str(benchmark_id) for (benchmark_id,) in view.query("SELECT id FROM benchmarks")}
    return sorted(accepted ^ stored)
