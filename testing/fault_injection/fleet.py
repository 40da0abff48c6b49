"""The product's own processes under its own supervisor, and functions that find them."""

import contextlib
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from app.cli.own_service import free_port, own_environment
from testing.processes import children, command, grandchildren
from testing.waiting import PATIENCE_SECONDS, Result, wait_until

#: Program that does what `halftime up` does, with any number of workers.
SUPERVISE = (
    "import asyncio, json, sys; from app.cli.supervisor import Child, supervise; "
    "from app.observability.logs import configure_logs; "
    "configure_logs('console'); asyncio.run(supervise([Child(**child) for child in json.loads(sys.argv[1])]))"
)

#: Variable in the environment of every process of a fleet, and so of their children.
MARK = "FLEET_UNDER_TEST"


@dataclass(frozen=True)
class Node:
    """Where a worker runs: the prefix of its command, and its URL of the database."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()

    def command(self) -> list[str]:
        """Command that starts the worker through `env` and the prefix; both exec, so the process keeps its id."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        worker = [sys.executable, "-m", "worker", "run", "--device", "cpu", "--id", self.name]
        return [*self.prefix, "env", *variables, *worker]


class Fleet:
    """A supervisor with an API and workers, and a client of the API."""

    def __init__(self, supervisor: psutil.Process, mark: str, folder: Path, http: httpx.Client) -> None:
        self.supervisor, self._mark, self.folder, self.http = supervisor, mark, folder, http
        self.log = folder / "fleet.log"

    def api(self) -> psutil.Process | None:
        """The API's process; None if it is dead at this moment."""
        return next((child for child in self._children() if "app.cli" in command(child)), None)

    def worker(self, name: str) -> psutil.Process | None:
        """The worker with that id; None if it is dead at this moment."""
        return next((child for child in self._children() if name in command(child)), None)

    def trials(self, worker: psutil.Process) -> list[psutil.Process]:
        """Trial processes of a worker: the children of its forkserver."""
        return grandchildren(worker)

    def processes(self) -> list[psutil.Process]:
        """Every process that descends from this fleet, whatever its parent is now; those of its PostgreSQL too."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def strays(self) -> list[psutil.Process]:
        """Processes other than the supervisor's own children, their forkservers, and PostgreSQL."""
        known = {self.supervisor.pid}
        for child in self._children():
            known |= {child.pid, *(server.pid for server in children(child))}
        return [process for process in self.processes() if process.pid not in known and process.name() != "postgres"]

    def log_count(self, text: str) -> int:
        """How often these words are in the log."""
        return self.log.read_text(errors="replace").count(text)

    def until(self, condition: Callable[[], Result], timeout_seconds: float = PATIENCE_SECONDS) -> Result:
        """Return the condition's first truthy value. Raises TimeoutError with the end of the log."""
        return wait_until(condition, timeout_seconds=timeout_seconds, log=self.log)

    def ready(self, workers: int) -> bool:
        """Whether the API responds and this many workers are alive."""
        try:
            response = self.http.get("/workers")
        except httpx.TransportError:
            return False
        return response.is_success and sum(row["state"] != "offline" for row in response.json()["items"]) >= workers

    def _children(self) -> list[psutil.Process]:
        return children(self.supervisor)

    def _is_ours(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            if process.name() == "postgres":  # PostgreSQL writes its process title over its environment
                return process.cwd() == str(self.folder / "postgres")
            return process.environ().get(MARK) == self._mark
        return False


@contextlib.contextmanager
def running_fleet(folder: Path, nodes: Sequence[Node], **environment: str) -> Iterator[Fleet]:
    """Run an API and a worker for each node, on the folder's embedded PostgreSQL unless `environment` names another.

    Stops them gracefully; whatever is left then is killed.
    """
    port, mark = free_port(), str(uuid.uuid4())
    children = [{"name": "serve", "command": [sys.executable, "-m", "app.cli", "serve"]}]
    children += [{"name": node.name, "command": node.command()} for node in nodes]
    variables = own_environment(str(folder), port) | {MARK: mark, "OMP_NUM_THREADS": "1"} | environment
    with (
        (folder / "fleet.log").open("w") as log,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as http,
        subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, json.dumps(children)], env=variables, stdout=log, stderr=log
        ) as process,
    ):
        fleet = Fleet(psutil.Process(process.pid), mark, folder, http)
        try:
            fleet.until(lambda: fleet.ready(len(nodes)))
            yield fleet
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_SECONDS)
            for left in fleet.processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    left.kill()


def stopped(fleet: Fleet) -> list[psutil.Process]:
    """Stop the fleet gracefully; return the processes that are left."""
    fleet.supervisor.send_signal(signal.SIGTERM)
    fleet.supervisor.wait(PATIENCE_SECONDS)
    _, left = psutil.wait_procs(fleet.processes(), timeout=10)
    return left
