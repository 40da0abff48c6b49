"""The container engine: a running one, or one unpacked from Debian's packages and stopped afterwards."""

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from testing.images import packages
from testing.images.commands import CommandFailed, outcome, run

START_SECONDS = 60.0
STOP_SECONDS = 60.0

#: Folders that the engine creates outside its own.
OUTSIDE = [Path("/etc/docker"), Path("/run/docker"), Path("/run/containerd")]

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


class NoEngine(Exception):
    """No engine runs, and none can be unpacked here."""


@dataclass(frozen=True)
class Engine:
    """An engine that responds."""

    #: Whether it was unpacked here and is stopped afterwards.
    unpacked: bool
    environment: Mapping[str, str]
    compose_command: list[str]

    def docker(self, *words: str | Path, stdin: bytes | None = None) -> str:
        """Run a `docker` command and return its output. Raises CommandFailed."""
        return run("docker", *words, environment=self.environment, stdin=stdin)

    def outcome(self, *words: str | Path) -> tuple[int, str, str]:
        """Run a `docker` command; return exit code, standard output and standard error."""
        return outcome("docker", *words, environment=self.environment)

    def compose(self, *words: str | Path, **environment: str) -> str:
        """Run a Compose command and return its output. Raises CommandFailed."""
        return run(*self.compose_command, *words, environment={**self.environment, **environment})

    def has(self, image: str) -> bool:
        """Whether the engine has the image."""
        return self.outcome("image", "inspect", image)[0] == 0


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """Use a running engine or an unpacked one. Raises NoEngine."""
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    if _answers(environment):
        yield Engine(False, environment, _compose_command(folder, environment))
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoEngine("No container engine responds to `docker version`; only root on Debian can unpack one.")
    with _unpacked(folder) as environment:
        yield Engine(True, environment, _compose_command(folder, environment))


def _answers(environment: Mapping[str, str]) -> bool:
    try:
        return outcome("docker", "version", environment=environment)[0] == 0
    except CommandFailed:
        return False


def _compose_command(folder: Path, environment: Mapping[str, str]) -> list[str]:
    if outcome("docker", "compose", "version", environment=environment)[0] == 0:
        return ["docker", "compose"]
    try:
        return [str(packages.compose(folder / "packages"))]
    except (CommandFailed, StopIteration) as error:
        raise NoEngine(f"There is no `docker compose`, and Debian's cannot be fetched: {error}") from error


@contextlib.contextmanager
def _unpacked(folder: Path) -> Iterator[dict[str, str]]:
    """Run an unpacked engine; yield its environment. Its changes to the machine's network are undone."""
    try:
        variables = packages.unpacked(folder / "packages", "docker.io", "containerd", "runc", "iptables", "debootstrap")
    except CommandFailed as error:
        raise NoEngine(f"No container engine responds, and Debian's cannot be unpacked: {error}") from error
    state = folder / "engine"
    (state / "config").mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        **variables,
        "DOCKER_HOST": f"unix://{state}/docker.sock",
        "DOCKER_CONFIG": str(state / "config"),
        "DOCKER_BUILDKIT": "1",
    }
    containers = ["--root", f"{state}/c", "--state", f"{state}/cs", "--address", f"{state}/c.sock"]
    images = ["--containerd", f"{state}/c.sock", "--data-root", f"{state}/data", "--exec-root", f"{state}/exec"]
    listens = ["--pidfile", f"{state}/dockerd.pid", "--host", environment["DOCKER_HOST"]]
    with (
        nothing_left_outside(),
        _network_as_before(environment),
        _started(["containerd", *containers], environment, state / "containerd.log") as below,
    ):
        _until((state / "c.sock").exists, below)
        with _started(["dockerd", *images, *listens], environment, state / "dockerd.log") as above:
            _until(lambda: _answers(environment), above)
            try:
                yield environment
            finally:
                for container in run("docker", "ps", "--all", "--quiet", environment=environment).split():
                    outcome("docker", "rm", "--force", "--volumes", container, environment=environment)


@contextlib.contextmanager
def _started(words: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process; end it with SIGTERM."""
    with log.open("wb") as written:
        # In its own session, so that Ctrl-C does not reach it and it is stopped in order.
        process = subprocess.Popen(words, env=environment, stdout=written, stderr=written, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoEngine(f"{process.args!r} did not start; its log is next to its state.")
        time.sleep(0.2)


@contextlib.contextmanager
def nothing_left_outside() -> Iterator[None]:
    """Remove the engine's folders; those that existed before stay."""
    created = [folder for folder in OUTSIDE if not folder.exists()]
    try:
        yield
    finally:
        for folder in created:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _network_as_before(environment: Mapping[str, str]) -> Iterator[None]:
    """Restore the bridge, firewall chains and forwarding switch that an engine leaves behind."""
    bridged, forwarding = Path("/sys/class/net/docker0").exists(), FORWARDING.read_text()
    rules = run("iptables-save", environment=environment)
    try:
        yield
    finally:
        stdin = restore_input(rules, run("iptables-save", environment=environment)).encode()
        outcome("iptables-restore", environment=environment, stdin=stdin)
        FORWARDING.write_text(forwarding)
        if not bridged:
            outcome("ip", "link", "delete", "docker0", environment=environment)


def restore_input(before: str, after: str) -> str:
    """Rules that restore those before: a new table is emptied, except for Linux's own chains."""
    emptied = []
    for table in re.findall(r"(?ms)^\*.*?^COMMIT$", after):
        name = table.split("\n", maxsplit=1)[0]
        if f"{name}\n" not in f"{before}\n":
            own = re.findall(r"(?m)^:\S+(?= (?:ACCEPT|DROP))", table)
            emptied.append("\n".join([name, *(f"{chain} ACCEPT" for chain in own), "COMMIT"]))
    return "\n".join([before, *emptied, ""])
