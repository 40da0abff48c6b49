"""The database itself: migrations, the embedded server, URLs."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import ValidationError
from sqlalchemy import create_engine, inspect, make_url, text
from sqlalchemy.exc import OperationalError

from app.settings import Settings, faults
from app.store.database import LIVENESS, driver_connection, libpq_url, located, place
from app.store.embedded import embedded_server
from app.store.migrate import migrate, upgrade
from app.store.tables import Base


def test_many_processes_may_migrate_at_once(empty_database_url):
    faults = []

    def start():
        try:
            migrate(empty_database_url)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    engine = create_engine(empty_database_url)
    assert {"benchmarks", "events", "workers", "procrastinate_jobs"} <= set(inspect(engine).get_table_names())
    engine.dispose()


def test_a_migration_never_waits_for_a_table_as_long_as_everyone_behind_it_would(empty_database_url, monkeypatch):
    monkeypatch.setattr("app.store.migrate.TABLE_SECONDS", 0.2)
    monkeypatch.setattr("app.store.migrate.TRIES", 2)
    engine = create_engine(empty_database_url)
    with engine.begin() as connection:
        upgrade(connection, "0017")
    with engine.connect() as backup:
        backup.execute(text("LOCK TABLE benchmarks IN ACCESS SHARE MODE"))
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate(empty_database_url)
    migrate(empty_database_url)
    engine.dispose()


def test_the_migrations_make_the_tables_that_the_code_describes(database_url):
    engine = create_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, _: kind != "table" or name in Base.metadata.tables}
        )
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()
    assert differences == []


def test_any_postgresql_url_is_spoken_to_with_psycopg():
    with located(Settings(database_url="postgresql://user:secret@host:5433/name")) as url:
        assert url.set(query={}).render_as_string(hide_password=False) == (
            "postgresql+psycopg://user:secret@host:5433/name"
        )


def test_a_server_that_is_gone_without_a_word_is_waited_for_as_long_as_the_url_says_and_else_for_seconds():
    with located(Settings(database_url="postgresql://host/name?connect_timeout=60&sslmode=require")) as url:
        assert url.query == LIVENESS | {"connect_timeout": "60", "sslmode": "require"}
        assert "tcp_user_timeout=10000" in libpq_url(url)


@pytest.mark.anyio
async def test_a_connection_has_these_limits(database):
    async with database.sessions() as session:
        connection = await driver_connection(session)
        assert connection.info.get_parameters().items() >= LIVENESS.items()


@pytest.mark.parametrize(
    "url", ["sqlite:///x.db", "mysql://u:hunter2@h/d", "localhost", "postgresql://u:hunter2@h:p/d"]
)
def test_a_url_that_names_no_postgresql_is_refused_without_its_password(url):
    with pytest.raises(ValidationError) as refused:
        Settings(database_url=url)
    said = faults(refused.value)
    assert said.startswith("HALFTIME_DATABASE_URL: ")
    assert "postgresql://" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "embedded in /data"),
        ("postgresql+psycopg://u:hunter2@h:5433/d?sslmode=require&password=hunter2", "postgresql://u@h:5433/d"),
        ("postgres:///d?host=/run/postgresql&sslpassword=hunter2", "postgresql:///d?host=%2Frun%2Fpostgresql"),
    ],
)
def test_a_database_is_named_without_secrets(url, said):
    assert place(Settings(database_url=url, data_dir="/data")) == said


def test_a_tilde_of_an_environment_file_is_the_home_directory(monkeypatch):
    monkeypatch.setenv("HALFTIME_DATA_DIR", "~/halftime")
    assert Settings().data_dir == Path.home() / "halftime"


@pytest.fixture
def data_dir():
    """Short, as a socket's path must be, and open to the server's own user."""
    with tempfile.TemporaryDirectory(prefix="ht-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


#: Opens the embedded server in a process of its own, says so, and ends by a signal.
HOLDER = """
import os, signal, sys
from pathlib import Path
from app.store.embedded import embedded_server
with embedded_server(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
os.kill(os.getpid(), signal.SIGTERM)
"""


def hold(data_dir):
    command = [sys.executable, "-c", HOLDER, str(data_dir)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_the_embedded_server_is_shared_and_the_last_to_leave_stops_it(data_dir):
    with hold(data_dir) as first, hold(data_dir) as second:
        assert first.stdout.readline() == second.stdout.readline() != ""
        pid_file = data_dir / "postgres" / "postmaster.pid"
        server = psutil.Process(int(pid_file.read_text().splitlines()[0]))
        first.communicate()
        assert server.is_running()
        second.communicate()
        assert not pid_file.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes users")
def test_servers_that_start_at_once_on_a_fresh_machine_make_their_user_once(tmp_path):
    name, calls, counted = f"halftime-{os.getpid()}", tmp_path / "calls", tmp_path / "useradd"
    counted.write_text(f'#!/bin/sh\necho "$@" >>{calls}\nsleep 0.3\nexec {shutil.which("useradd")} "$@"\n')
    counted.chmod(0o755)
    code = f"""
from concurrent.futures import ThreadPoolExecutor
from app.store.embedded import make_user
with ThreadPoolExecutor(4) as starters:
    list(starters.map(make_user, [{name!r}] * 4))
"""
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    try:
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        assert len(calls.read_text().splitlines()) == 1
    finally:
        subprocess.run(["userdel", name], check=True)


def test_an_open_database_whose_embedded_server_is_killed_recovers_with_what_was_committed(data_dir):
    code = """
import asyncio, os, signal, sys
from pathlib import Path
from sqlalchemy import text
from app.settings import Settings, faults
from app.store.database import open_database, place

async def main():
    data_dir = Path(sys.argv[1])
    async with open_database(Settings(data_dir=data_dir, database_url=None), pool_size=1) as database:
        async with database.sessions.begin() as session:
            await session.execute(text("CREATE TABLE kept AS SELECT 7 AS number"))
        os.kill(int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        for _ in range(20):
            await asyncio.sleep(0.5)
            await database.recover()
            try:
                async with database.sessions() as session:
                    print(await session.scalar(text("SELECT number FROM kept")))
                    return
            except Exception:
                continue

asyncio.run(main())
"""
    environment = {name: value for name, value in os.environ.items() if name != "HALFTIME_DATABASE_URL"}
    command = [sys.executable, "-c", code, str(data_dir)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
    assert result.stdout.splitlines()[-1:] == ["7"], result.stderr  # before it: what did not succeed at once


def test_a_holder_that_was_killed_does_not_keep_the_server_up(data_dir):
    with hold(data_dir) as first, hold(data_dir) as second:
        first.stdout.readline()
        second.stdout.readline()
        first.kill()
        first.wait()
        second.communicate()
    assert not (data_dir / "postgres" / "postmaster.pid").exists()


def test_a_server_that_another_process_started_again_is_stopped_by_the_last_to_leave(data_dir):
    pid_file = data_dir / "postgres" / "postmaster.pid"
    with hold(data_dir) as stays:
        stays.stdout.readline()
        server = psutil.Process(int(pid_file.read_text().splitlines()[0]))
        family = [server, *server.children()]
        server.kill()
        psutil.wait_procs(family, timeout=30)
        with hold(data_dir) as starts:
            starts.stdout.readline()
            again = psutil.Process(int(pid_file.read_text().splitlines()[0]))
            starts.communicate()
        stays.communicate()
    left_running = pid_file.exists()
    with contextlib.suppress(psutil.NoSuchProcess):
        again.kill()
    assert not left_running


def test_a_killed_server_whose_pid_another_program_has_is_started_again(data_dir):
    with hold(data_dir) as holder:
        holder.stdout.readline()
        pid_file = data_dir / "postgres" / "postmaster.pid"
        pid, *rest = pid_file.read_text().splitlines()
        server = psutil.Process(int(pid))
        family = [server, *server.children()]
        server.kill()
        psutil.wait_procs(family, timeout=30)
        holder.kill()
    pid_file.write_text("\n".join([str(os.getpid()), *rest, ""]))
    with hold(data_dir) as holder:
        url = make_url(holder.stdout.readline().strip())
        engine = create_engine(url)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
        engine.dispose()
        holder.communicate()


#: Its server is killed, and killed once more as soon as it is started again; prints what came of that, and then of the
#: next start. What fails before is what PostgreSQL says while the dead one's processes still end.
KILLED_AS_IT_STARTS = """
import subprocess, sys, time
from pathlib import Path
import psutil
from app.store import embedded
data_dir = Path(sys.argv[1])

def kill():
    server = psutil.Process(int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0]))
    server.kill()
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)

def start_and_kill(*args, **options):
    pgexec(*args, **options)
    kill()

def said():
    while True:
        try:
            embedded.revive(data_dir)
            return "started"
        except subprocess.CalledProcessError:
            time.sleep(0.2)
        except RuntimeError as error:
            return error

with embedded.embedded_server(data_dir):
    from app.store import embedded_start
    pgexec, embedded_start.pgexec = embedded_start.pgexec, start_and_kill
    kill()
    print(said())
    embedded_start.pgexec = pgexec
    print(said())
"""


def test_a_server_that_is_killed_as_it_starts_keeps_nobody_waiting(data_dir):
    command = [sys.executable, "-c", KILLED_AS_IT_STARTS, str(data_dir)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.stdout.splitlines() == ["It ended before it was ready.", "started"], result.stderr


def test_a_server_that_recovers_yet_is_waited_for(data_dir):
    with hold(data_dir) as holder:
        holder.stdout.readline()
        pid_file = data_dir / "postgres" / "postmaster.pid"
        ready = pid_file.read_text()
        pid_file.write_text(ready.replace("ready", "starting"))
        with hold(data_dir) as joins:
            with pytest.raises(subprocess.TimeoutExpired):
                joins.wait(1)
            pid_file.write_text(ready)
            assert joins.stdout.readline().startswith("postgresql")
            joins.communicate()
        holder.communicate()


def test_a_first_start_that_was_cut_off_as_it_made_the_database_is_begun_anew(data_dir):
    half_made = data_dir / "postgres"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18\n")
    (data_dir / "postgres.begun").touch()
    with hold(data_dir) as holder:
        assert "set aside" in holder.stdout.readline()
        assert holder.stdout.readline().startswith("postgresql")
        holder.communicate()
    assert not (data_dir / "postgres.begun").exists()
    (aside,) = data_dir.glob("postgres.half-made-*")
    assert (aside / "PG_VERSION").exists()


def test_a_first_start_that_fails_leaves_what_is_there_alone(data_dir):
    foreign = data_dir / "postgres" / "18" / "docker" / "PG_VERSION"
    foreign.parent.mkdir(parents=True)
    foreign.touch()
    for _ in range(2):
        with pytest.raises(ValueError, match="did not start"), embedded_server(data_dir):
            pass
    assert foreign.exists()


def test_a_database_of_another_release_is_named(data_dir):
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(ValueError, match="made by PostgreSQL 16"), embedded_server(data_dir):
        pass


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="rights are taken from root")
def test_root_that_may_not_look_into_the_server_starts_it_nevertheless(data_dir):
    """As in a container."""
    command = ["setpriv", "--inh-caps=-sys_ptrace", "--bounding-set=-sys_ptrace", sys.executable, "-c", HOLDER]
    holder = subprocess.Popen([*command, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout.readline().startswith("postgresql")
        holder.communicate()
    assert not (data_dir / "postgres" / "postmaster.pid").exists()


def test_a_database_that_was_made_is_never_made_anew(data_dir):
    for _ in range(2):
        with hold(data_dir) as holder:
            holder.stdout.readline()
            (data_dir / "postgres" / "kept").touch()
            holder.communicate()
    assert (data_dir / "postgres" / "kept").exists()


def test_a_start_that_another_process_never_ends_is_not_waited_for_without_end(data_dir, monkeypatch):
    monkeypatch.setattr("app.store.embedded.LOCK_SECONDS", 0.3)
    with (data_dir / "start.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match=r"another process has held .*start\.lock"), embedded_server(data_dir):
            pass


def test_a_label_lookup_uses_its_index(database_url):
    engine = create_engine(database_url)
    with engine.connect() as connection:
        connection.execute(text("SET enable_seqscan = off"))
        plan = connection.execute(text("""EXPLAIN SELECT id FROM benchmarks WHERE labels @> '{"a": "b"}'""")).scalars()
        assert "benchmarks_labels" in "\n".join(plan)
    engine.dispose()
