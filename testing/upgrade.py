"""A live upgrade: the newest migration under the previous release's API and worker, with a job running.

Migrations are additive from 0.1.0. The previous release is the commit before the one that added the newest migration,
so the git history must be there. Its worker is drained, finishes its job on the migrated database, and stops; a current
worker takes the queued jobs.
"""

import contextlib
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.pool import NullPool

from app.cli.own_service import free_port
from app.settings import Settings
from app.store.database.connection import libpq_url, located
from app.store.database.migrate import MIGRATIONS, migrate
from testing.api_process import temporary_folder, until_ready
from testing.waiting import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).parents[1]

#: Benchmarks queued when the migration begins, and those submitted to the old API after it.
WAITING, LATER = 10, 2

SHORT = {
    "model": {"kind": "mlp", "input_size": 16, "hidden_size": 32, "num_layers": 1},
    "config": {
        "device": "cpu",
        "training": {"batch_size": 16, "steps": 3, "warmup_steps": 1},
        "measurement": {"min_blocks": 2, "max_blocks": 2},
    },
}
#: Runs for about this many seconds on any machine: noise cannot become as small as it asks.
BUSY_SECONDS = 6
BUSY = SHORT | {
    "config": {
        "device": "cpu",
        "measurement": {"target_ci": 0.001, "max_blocks": 64, "time_budget_seconds": BUSY_SECONDS},
        "training": {"batch_size": 64, "steps": 60},
    }
}

#: Queries whose rows are faults.
FAULTS = {
    "lost": "SELECT id FROM benchmarks WHERE status <> 'succeeded'",
    "run_again": "SELECT id FROM benchmarks WHERE attempt <> 1",
    "ended_not_once": (
        "SELECT benchmark_id FROM events GROUP BY benchmark_id "
        "HAVING count(*) FILTER (WHERE kind IN ('succeeded', 'failed', 'cancelled')) <> 1"
    ),
    "events_with_gaps": "SELECT benchmark_id FROM events GROUP BY benchmark_id HAVING max(seq) <> count(*)",
    "entries_left": "SELECT id FROM procrastinate_jobs",
}


class NoHistory(Exception):
    """The release before the newest migration is not in this clone."""


def measure() -> dict[str, object]:
    """Outcome of every benchmark, and duration of the migration. Raises NoHistory."""
    with temporary_folder() as folder, located(Settings(data_dir=folder, database_url=None)) as url:
        return upgraded(url, WAITING, LATER)


def upgraded(url: URL, waiting: int, later: int) -> dict[str, object]:
    """Run the upgrade on an empty database. Raises NoHistory."""
    with old_release() as (old, commit), _connected(url) as database, contextlib.ExitStack() as running:
        http = running.enter_context(_api(old, url))
        old_worker = running.enter_context(_worker(old, url, "old"))
        before = _revision(database)
        wait_until(lambda: http.get("/workers").json()["items"])
        busy = _submit(http, BUSY)
        wait_until(lambda: _finished_trials(database, busy))
        for _ in range(waiting):
            _submit(http, SHORT)
        http.post("/workers/old/drain").raise_for_status()
        seconds = _migrated(url)
        under_way = _status(database, busy)
        for _ in range(later):
            _submit(http, SHORT)
        wait_until(lambda: _status(database, busy) != "running")
        old_worker.terminate()
        old_worker.wait(PATIENCE_SECONDS)
        running.enter_context(_worker(ROOT, url, "new"))
        wait_until(lambda: not _rows(database, "SELECT id FROM benchmarks WHERE status IN ('queued', 'running')"))
        wait_until(lambda: not _rows(database, FAULTS["entries_left"]))
        return {
            "old_release": commit,
            "revisions": [before, _revision(database)],
            "migration_seconds": round(seconds, 3),
            "status_of_the_running_one_after_it": under_way,
            "waiting": waiting,
            "submitted_to_the_old_api_after_it": later,
            "finished_by": {worker: _finished_by(database, worker) for worker in ("old", "new")},
            "faults": {name: len(_rows(database, query)) for name, query in FAULTS.items()},
        }


@contextlib.contextmanager
def old_release() -> Iterator[tuple[Path, str]]:
    """Extract the code before the newest migration; yield its folder and commit. Raises NoHistory."""
    newest = max(MIGRATIONS.glob("versions/[0-9]*.py"))
    added = _git("log", "--diff-filter=A", "--format=%H", "-1", "--", str(newest))
    commit = _git("rev-parse", "--verify", "--quiet", f"{added}^" if added else "HEAD")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "old.tar"
        _git("archive", f"--output={archive}", commit)
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        yield Path(folder), commit[:7]


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoHistory(f"git {arguments[0]} does not give the release before the newest migration") from error
    return done.stdout.strip()


@contextlib.contextmanager
def _started(folder: Path, url: URL, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process on the code in a folder."""
    variables = os.environ | {"PYTHONPATH": str(folder), "HALFTIME_DATABASE_URL": libpq_url(url)} | environment
    with subprocess.Popen(
        [sys.executable, "-m", *command], cwd=folder, env=variables, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextlib.contextmanager
def _api(folder: Path, url: URL) -> Iterator[httpx.Client]:
    port = free_port()
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
        _started(folder, url, "app.cli", "serve", HALFTIME_PORT=str(port)),
    ):
        until_ready(http)
        yield http


def _worker(folder: Path, url: URL, name: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    return _started(folder, url, "worker", "run", "--device", "cpu", "--id", name)


def _submit(http: httpx.Client, body: dict[str, object]) -> str:
    return str(http.post("/benchmarks", json=body).raise_for_status().json()["id"])


def _migrated(url: URL) -> float:
    """Seconds that the current migrations took."""
    began = time.perf_counter()
    migrate(url)
    return time.perf_counter() - began


@contextlib.contextmanager
def _connected(url: URL) -> Iterator[Connection]:
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


def _rows(database: Connection, query: str, **values: str) -> list[object]:
    return list(database.execute(text(query).bindparams(**values)).scalars())


def _revision(database: Connection) -> str:
    return str(*_rows(database, "SELECT version_num FROM alembic_version"))


def _status(database: Connection, benchmark_id: str) -> str:
    return str(*_rows(database, "SELECT status FROM benchmarks WHERE id = CAST(:id AS uuid)", id=benchmark_id))


def _finished_trials(database: Connection, benchmark_id: str) -> list[object]:
    query = "SELECT seq FROM events WHERE benchmark_id = CAST(:id AS uuid) AND kind = 'trial_finished'"
    return _rows(database, query, id=benchmark_id)


def _finished_by(database: Connection, worker: str) -> int:
    query = "SELECT id FROM benchmarks WHERE worker_id = :worker AND status = 'succeeded'"
    return len(_rows(database, query, worker=worker))
