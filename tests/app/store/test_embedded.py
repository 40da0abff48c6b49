"""The embedded PostgreSQL: shared, started again after a kill, never waited for without end, nothing of it lost."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, make_url, text

from app.store.database.embedded import embedded_server


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
from app.store.database.embedded import embedded_server
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


def test_a_process_that_removed_the_folder_leaves_nothing_of_it():
    code = """
import tempfile
from pathlib import Path
from app.store.database.embedded import embedded_server
with tempfile.TemporaryDirectory(prefix="ht-") as folder:
    Path(folder).chmod(0o755)
    with embedded_server(Path(folder)):
        print(folder)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not Path(ended.stdout.strip()).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes users")
def test_servers_that_start_at_once_on_a_fresh_machine_make_their_user_once(tmp_path):
    name, calls, counted = f"halftime-{os.getpid()}", tmp_path / "calls", tmp_path / "useradd"
    counted.write_text(f'#!/bin/sh\necho "$@" >>{calls}\nsleep 0.3\nexec {shutil.which("useradd")} "$@"\n')
    counted.chmod(0o755)
    code = f"""
from concurrent.futures import ThreadPoolExecutor
from app.store.database.embedded import make_user
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
from app.store.database.connection import open_database, place

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
from app.store.database import embedded
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
    from app.store.database import embedded_start
    pgexec, embedded_start.pgexec = embedded_start.pgexec, start_and_kill
    kill()
    print(said())
    embedded_start.pgexec = pgexec
    print(said())
"""


def test_a_server_that_is_killed_as_it_starts_keeps_nobody_waiting(data_dir):
    command = [sys.executable, "-c", KILLED_AS_IT_STARTS, str(data_dir)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.stdout.splitlines() == ["It exited before it was ready.", "started"], result.stderr


def replace(file, text):
    """At once, because a process that reads an empty PID file believes that the server has exited."""
    written = file.with_suffix(".new")
    written.write_text(text)
    written.replace(file)


def test_a_server_that_recovers_yet_is_waited_for(data_dir):
    with hold(data_dir) as holder:
        holder.stdout.readline()
        pid_file = data_dir / "postgres" / "postmaster.pid"
        ready = pid_file.read_text()
        replace(pid_file, ready.replace("ready", "starting"))
        with hold(data_dir) as joins:
            with pytest.raises(subprocess.TimeoutExpired):
                joins.wait(1)
            replace(pid_file, ready)
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
    with pytest.raises(ValueError, match="created by PostgreSQL 16"), embedded_server(data_dir):
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
    monkeypatch.setattr("app.store.database.embedded.LOCK_SECONDS", 0.3)
    with (data_dir / "start.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match=r"another process has held .*start\.lock"), embedded_server(data_dir):
            pass
