"""A service for one command: `halftime up` on a temporary database and a free port."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from app.cli.shared import err, fail
from app.cli.supervisor import die_with_parent
from halftime.client import Client

#: Environment variables that a temporary service must not inherit.
NOT_INHERITED = {"HALFTIME_DATABASE_URL", "HALFTIME_EMBEDDED_DATABASE", "HALFTIME_API_KEY"}

START_SECONDS = 60.0


@contextlib.contextmanager
def own_service() -> Iterator[str]:
    """Runs `halftime up` on a temporary database and a free port. Yields its address."""
    with tempfile.TemporaryDirectory(prefix="halftime-") as folder:
        Path(folder).chmod(0o755)  # the embedded PostgreSQL runs as its own user
        port = free_port()
        log_path = Path(folder) / "service.log"
        with log_path.open("w") as log:
            # In its own session, so that Ctrl-C cancels the benchmark first; it ends with this process.
            service = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "up"],
                env=own_environment(folder, port),
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 # there is one thread
            )
        try:
            _wait_until_ready(f"http://127.0.0.1:{port}", service, log_path)
            yield f"http://127.0.0.1:{port}"
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait()


def own_environment(folder: str, port: int) -> dict[str, str]:
    """Returns the environment of a temporary service: on loopback, with its own database, which holds no key."""
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    return inherited | {
        "HALFTIME_DATA_DIR": folder,
        "HALFTIME_HOST": "127.0.0.1",
        "HALFTIME_PORT": str(port),
        "HALFTIME_REQUIRE_API_KEY": "false",
    }


def free_port() -> int:
    """Returns an unused port of the loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_ready(address: str, service: "subprocess.Popen[bytes]", log_path: Path) -> None:
    """Waits until the API answers and a worker is online. Ends the command after `START_SECONDS`."""
    deadline = time.monotonic() + START_SECONDS
    with Client(address, api_key="") as client, err.status("Starting the service …"):
        while time.monotonic() < deadline and service.poll() is None:
            if client.ready() and any(worker.state != "offline" for worker in client.workers().items):
                return
            time.sleep(0.1)
    fail(f"The service did not start:\n{log_path.read_text()[-4000:]}", 4)
