"""Each invariant of a fleet's database detects its violation, planted by hand."""

import uuid

import psycopg
import pytest

from testing.fault_injection.database import View
from testing.fault_injection.invariants import QUERIES, TOO_MANY

ENDED = """
INSERT INTO benchmarks (id, version, status, request, labels, model_kind, device, priority, queue, attempt, finished_at,
    warnings, last_event, report_gzip, logs)
VALUES (%(id)s, 1, 'succeeded', '{}', '{}', 'mlp', 'cpu', 0, 'cpu', 1, now(), '{}', 2, 'report', '');
INSERT INTO events (benchmark_id, seq, kind, data) VALUES (%(id)s, 1, 'queued', '{}'), (%(id)s, 2, 'succeeded', '{}');
INSERT INTO idempotency_keys (owner, key, request_sha256, benchmark_id) VALUES ('', 'key', '', %(id)s);
"""

PLANTED = {
    "a benchmark has not ended": "UPDATE benchmarks SET finished_at = NULL",
    "a benchmark has not exactly one terminal event, which is its last": "UPDATE events SET kind = 'succeeded'",
    "events have a gap": "UPDATE events SET seq = 3 WHERE seq = 2",
    "a succeeded benchmark has no report, or another one has": "UPDATE benchmarks SET report_gzip = NULL",
    "something happened after the end": "UPDATE benchmarks SET report_gzip = 'another'",
    "a benchmark was submitted twice, or by nobody": "DELETE FROM idempotency_keys",
    "a lease is held": "UPDATE benchmarks SET lease_expires_at = now()",
    "an entry is left in the queue": """
        INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('cpu', 'run_benchmark')""",
    "a worker is shown as busy": """
        INSERT INTO workers (id, session, device_name, device_kind, queues, online, current_benchmark, halftime_version)
        SELECT 'w', gen_random_uuid(), 'cpu', 'cpu', '{}', true, id, '1' FROM benchmarks""",
    "an advisory lock is held": "SELECT pg_advisory_lock(1)",
    "a transaction is left open": "BEGIN",
}


@pytest.fixture
def connection(database_url):
    url = database_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT 1")
        connection.url = url
        yield connection


@pytest.fixture
def view(connection):
    view = View(connection.url)
    view.install_watch()
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute(ENDED, {"id": uuid.uuid4()})
    return view


def violated(view):
    return {wrong for wrong, statement in QUERIES.items() if view.query(statement)}


def test_a_benchmark_that_succeeded_violates_no_invariant(view):
    assert violated(view) == set()
    assert view.query(TOO_MANY, 1) == []


@pytest.mark.parametrize("wrong", QUERIES)
def test_a_planted_fault_is_detected(wrong, view, connection):
    connection.execute(PLANTED[wrong])
    assert wrong in violated(view)


def test_a_benchmark_with_too_many_attempts_is_detected(view, connection):
    connection.execute("UPDATE benchmarks SET attempt = 5")
    assert len(view.query(TOO_MANY, 4)) == 1


def test_a_changed_end_is_detected(view, connection):
    connection.execute("UPDATE benchmarks SET status = 'failed'")
    assert "something happened after the end" in violated(view)
