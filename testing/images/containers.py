"""Containers of the images: started as documented, killed from outside, stopped, and their logs read."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from testing.images.engine import Engine
from testing.waiting import Result, wait_until

#: Prefix of the name of everything made on the engine.
PREFIX = "halftime-images"

#: Documented options for running containers without privileges.
WITHOUT_RIGHTS = [
    *("--read-only", "--tmpfs", "/tmp:exec", "--cap-drop", "ALL"),  # noqa: S108 # a path in a container
    *("--security-opt", "no-new-privileges"),
]

PATIENCE_SECONDS = 300.0
POLL_SECONDS = 0.1


def until(condition: Callable[[], Result], awaited: str) -> Result:
    """Return the condition's first truthy value. Raises TimeoutError."""
    return wait_until(condition, awaited, timeout_seconds=PATIENCE_SECONDS, pause_seconds=POLL_SECONDS)


def tag(target: str) -> str:
    """Image of a stage of the Dockerfile."""
    return f"{PREFIX}:{target}"


class Container:
    """A container by its name, whoever started it."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self.name = engine, name

    def state(self) -> dict[str, Any]:
        """State as the engine reports it."""
        (described,) = json.loads(self._engine.docker("inspect", self.name))
        return {**described["State"], "RestartCount": described["RestartCount"]}

    def healthy(self) -> bool:
        """Whether its health check passes; without one, whether it runs."""
        state = self.state()
        return state["Running"] and state.get("Health", {"Status": "healthy"})["Status"] == "healthy"

    def user(self) -> int:
        """User id of its processes."""
        return int(self._engine.docker("exec", self.name, "id", "-u"))

    def kill(self) -> None:
        """Kill its first process with SIGKILL, as the kernel would: the engine restarts it by itself.

        Returns when it runs again. A container in the host's process namespace sends the signal.
        """
        before = self.state()
        code = f"import os; os.kill({before['Pid']}, 9)"
        helper = ["run", "--rm", "--pid", "host", "--user", "0", "--entrypoint", "python", tag("api"), "-c", code]
        self._engine.docker(*helper)
        until(lambda: self.state()["RestartCount"] > before["RestartCount"], f"{self.name} to be started again")
        until(lambda: self.state()["Running"], f"{self.name} to run")

    def stop(self) -> dict[str, object]:
        """Stop it with `docker stop` and the timeout from its start."""
        began = time.monotonic()
        self._engine.docker("stop", self.name)
        return {"seconds": round(time.monotonic() - began, 1), "exit_code": self.state()["ExitCode"]}

    def start(self) -> None:
        """Start it again."""
        self._engine.docker("start", self.name)

    def lines(self) -> list[str]:
        """All lines it ever logged."""
        _, output, errors = self._engine.outcome("logs", self.name)
        return [line for line in (output + errors).splitlines() if line]

    def remove(self) -> None:
        """Remove the container; its volumes stay."""
        self._engine.docker("rm", "--force", self.name)


@contextlib.contextmanager
def started(engine: Engine, name: str, *options: str, image: str, command: tuple[str, ...] = ()) -> Iterator[Container]:
    """Run a container."""
    full = f"{PREFIX}-{name}"
    engine.docker("run", "--detach", "--name", full, "--restart", "unless-stopped", *options, image, *command)
    container = Container(engine, full)
    try:
        yield container
    finally:
        container.remove()


def no_json(lines: list[str]) -> list[str]:
    """Lines that are not JSON objects."""
    return [line for line in lines if not _is_object(line)]


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
