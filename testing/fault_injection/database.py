"""A view of the database that retries while the server is down, and a trigger in it that logs forbidden changes."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import psycopg

PATIENCE_SECONDS = 60.0

#: Trigger that logs every forbidden change of a benchmark that has ended.
WATCH = """
CREATE TABLE IF NOT EXISTS watched (benchmark_id uuid, wrong text, at timestamptz DEFAULT clock_timestamp());
CREATE OR REPLACE FUNCTION watch_benchmark() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.report_gzip IS NOT NULL AND OLD.report_gzip IS DISTINCT FROM NEW.report_gzip THEN
        INSERT INTO watched VALUES (OLD.id, 'its report was overwritten');
    END IF;
    IF OLD.finished_at IS NOT NULL AND (OLD.status, OLD.finished_at) IS DISTINCT FROM (NEW.status, NEW.finished_at) THEN
        INSERT INTO watched VALUES (OLD.id, 'its end was changed');
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER watch BEFORE UPDATE ON benchmarks FOR EACH ROW EXECUTE FUNCTION watch_benchmark();
"""

#: Backends that faults may hit: all but the one that runs the query.
CLIENTS = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


class View:
    """Queries the database, with a new connection for each query."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of a query's result. Raises psycopg.OperationalError if the database stays down."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self._connected() as connection:
                    cursor = connection.execute(statement, values or None)
                    return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def install_watch(self) -> None:
        """Install the trigger that logs forbidden changes."""
        self.query(WATCH)

    def backends(self) -> list[int]:
        """Server processes that serve a connection; none while the server is down."""
        return [pid for (pid,) in self._query_once(f"SELECT pid {CLIENTS}")]

    def cut_connections(self) -> int:
        """End every connection except its own; return how many."""
        return len(self._query_once(f"SELECT pg_terminate_backend(pid) {CLIENTS}"))

    def _query_once(self, statement: str) -> list[tuple[Any, ...]]:
        with contextlib.suppress(psycopg.OperationalError), self._connected() as connection:
            return connection.execute(statement).fetchall()
        return []

    @contextlib.contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
            yield connection
