"""Outcome of every benchmark, from its rows and events: each ended once, as its seed determines."""

from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from testing.fleet.fates import fate_of

ROWS = """
SELECT b.id, b.status, b.failure->>'code', b.attempt, b.last_event, CAST(b.labels->>'seed' AS int),
       b.report_gzip IS NOT NULL,
       array_agg(e.kind ORDER BY e.seq), array_agg(e.seq ORDER BY e.seq)
FROM benchmarks b LEFT JOIN events e ON e.benchmark_id = b.id GROUP BY b.id
"""

TERMINAL = {"succeeded", "failed", "cancelled"}


@dataclass
class Ledger:
    """Counts, and the faults detected: none if all is well."""

    benchmarks: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    faults: list[str] = field(default_factory=list)


def ledger_of(connection: Connection) -> Ledger:
    """Ledger of all benchmarks in the database."""
    ledger = Ledger()
    for identity, *facts in connection.execute(text(ROWS)):
        ledger.faults += [f"{identity}: {fault}" for fault in _enter(ledger, *facts)]
    return ledger


def _enter(
    ledger: Ledger,
    status: str,
    code: str | None,
    attempt: int,
    last_event: int,
    seed: int,
    reported: bool,
    kinds: list[str],
    numbers: list[int],
) -> list[str]:
    ledger.benchmarks += 1
    ledger.statuses[status] += 1
    ledger.attempts += attempt
    if code:
        ledger.failures[code] += 1
    expected = fate_of(seed).failure
    checks = {
        f"is {status}": status in TERMINAL,
        f"its events are numbered {numbers}": numbers == list(range(1, last_event + 1)),
        f"ended {sum(kind in TERMINAL for kind in kinds)} times": sum(kind in TERMINAL for kind in kinds) == 1,
        f"started {kinds.count('started')} times in {attempt} attempts": kinds.count("started") == attempt,
        f"failed with {code}, not {expected}": code == expected,
        f"{status} {'with' if reported else 'without'} a report": reported == (status == "succeeded"),
    }
    return [fault for fault, well in checks.items() if not well]
