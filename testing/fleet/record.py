"""Records who fetched which queue entry, and which others that fetch could see; detects fetches out of order.

PostgreSQL's snapshots, not a clock, tell whether one transaction saw another: a fetch is out of order if
another entry that the same worker serves came first by priority and age, was committed before the fetch, and was
still there for a later fetch that saw this one done.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text

INSTALL = """
CREATE TABLE fleet_inserted (entry_id bigint PRIMARY KEY, xid xid8, priority int, queue text);
CREATE TABLE fleet_fetched (entry_id bigint PRIMARY KEY, xid xid8, snapshot pg_snapshot, at timestamptz);

CREATE FUNCTION fleet_note_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO fleet_inserted VALUES (NEW.id, pg_current_xact_id(), NEW.priority, NEW.queue_name);
    RETURN NULL;
END $$;

-- STABLE: it sees the snapshot of the statement that fetches, not a later one of its own.
CREATE FUNCTION fleet_keep_snapshot() RETURNS trigger LANGUAGE plpgsql STABLE AS $$ BEGIN
    PERFORM set_config('fleet.snapshot', pg_current_snapshot()::text, true);
    RETURN NEW;
END $$;

CREATE FUNCTION fleet_note_fetch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO fleet_fetched
    VALUES (NEW.id, pg_current_xact_id(), current_setting('fleet.snapshot')::pg_snapshot, clock_timestamp());
    RETURN NULL;
END $$;

CREATE TRIGGER fleet_note_insert AFTER INSERT ON procrastinate_jobs FOR EACH ROW
    WHEN (NEW.task_name = 'run_benchmark') EXECUTE FUNCTION fleet_note_insert();
CREATE TRIGGER fleet_keep_snapshot BEFORE UPDATE ON procrastinate_jobs FOR EACH ROW
    WHEN (OLD.status = 'todo' AND NEW.status = 'doing' AND NEW.task_name = 'run_benchmark')
    EXECUTE FUNCTION fleet_keep_snapshot();
CREATE TRIGGER fleet_note_fetch AFTER UPDATE ON procrastinate_jobs FOR EACH ROW
    WHEN (OLD.status = 'todo' AND NEW.status = 'doing' AND NEW.task_name = 'run_benchmark')
    EXECUTE FUNCTION fleet_note_fetch();
"""

#: Pairs where `took` was fetched although `missed` came before it. The first two conditions on times only save work.
OUT_OF_ORDER = """
WITH fetches AS MATERIALIZED (
    SELECT f.*, i.xid AS inserted, i.priority, i.queue, b.id AS benchmark, w.queues
    FROM fleet_fetched f
    JOIN fleet_inserted i USING (entry_id)
    LEFT JOIN benchmarks b ON b.queue_entry_id = f.entry_id
    LEFT JOIN workers w ON w.id = b.worker_id
)
SELECT took.benchmark, missed.benchmark FROM fetches took JOIN fetches missed
ON missed.at > took.at AND missed.inserted < took.xid
AND (missed.priority, -missed.entry_id) > (took.priority, -took.entry_id)
AND pg_visible_in_snapshot(missed.inserted, took.snapshot)
AND pg_visible_in_snapshot(took.xid, missed.snapshot)
AND missed.queue = ANY (took.queues)
"""

COUNTS = """
SELECT (SELECT count(*) FROM fleet_fetched),
       (SELECT count(*) FROM fleet_fetched f WHERE NOT EXISTS (
           SELECT FROM benchmarks b JOIN workers w ON w.id = b.worker_id WHERE b.queue_entry_id = f.entry_id)),
       (SELECT count(*) FROM fleet_fetched a JOIN fleet_fetched b ON b.at > a.at
        JOIN fleet_inserted i ON i.entry_id = a.entry_id JOIN fleet_inserted j ON j.entry_id = b.entry_id
        WHERE j.priority < i.priority AND j.entry_id < i.entry_id)
"""


@dataclass(frozen=True)
class Order:
    """Results of the record."""

    fetches: int
    #: Fetches by an unknown worker, which are not judged.
    unattributed: int
    #: Pairs of which the younger was fetched first because of its priority.
    overtaken: int
    #: Pairs of benchmark ids: taken, and missed.
    out_of_order: list[tuple[str, str]]


def install(connection: Connection) -> None:
    """Record every fetch from now on. Run it once, on a migrated database."""
    connection.execute(text(INSTALL))


def order_of(connection: Connection) -> Order:
    """Order of the fetches so far; for a benchmark that ran more than once, of its last fetch."""
    fetches, unattributed, overtaken = connection.execute(text(COUNTS)).one()
    pairs = [(str(took), str(missed)) for took, missed in connection.execute(text(OUT_OF_ORDER))]
    return Order(fetches, unattributed, overtaken, pairs)
