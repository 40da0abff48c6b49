"""Containers of the images: started as the documents say, killed from outside, stopped, and read."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from testing.images.engine import Engine

#: All that is made on the engine has a name that begins so.
PREFIX = "halftime-images"

#: How the documents say that containers run without rights.
WITHOUT_RIGHTS = [
    *("--read-only", "--tmpfs", "/tmp:exec", "--cap-drop", "ALL"),  # noqa: S108 # a path in a container
    *("--security-opt", "no-new-privileges"),
]

PATIENCE_SECONDS = 300.0
POLL_SECONDS = 0.1

Result = TypeVar("Result")


class Impatient(Exception):
    """Something did not come."""


def until(look: Callable[[], Result], what: str) -> Result:
    """What the look gives once it is truthy. Raises Impatient."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(POLL_SECONDS)
    raise Impatient(f"waited {PATIENCE_SECONDS:.0f} s in vain for {what}")


def tag(target: str) -> str:
    """The image of a stage of the Dockerfile."""
    return f"{PREFIX}:{target}"


class Container:
    """A container by its name, whoever started it."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self.name = engine, name

    def state(self) -> dict[str, Any]:
        """As the engine describes it."""
        (described,) = json.loads(self._engine.docker("inspect", self.name))
        return {**described["State"], "RestartCount": described["RestartCount"]}

    def healthy(self) -> bool:
        """Whether its health check says so; for one without, whether it runs."""
        state = self.state()
        return state["Running"] and state.get("Health", {"Status": "healthy"})["Status"] == "healthy"

    def user(self) -> int:
        """The number of the user that its processes are."""
        return int(self._engine.docker("exec", self.name, "id", "-u"))

    def kill(self) -> None:
        """Its first process gets SIGKILL, as from the kernel: the engine, not asked, starts it again.

        Returns when it runs again. A container with the engine's view of processes sends the signal.
        """
        before = self.state()
        code = f"import os; os.kill({before['Pid']}, 9)"
        helper = ["run", "--rm", "--pid", "host", "--user", "0", "--entrypoint", "python", tag("api"), "-c", code]
        self._engine.docker(*helper)
        until(lambda: self.state()["RestartCount"] > before["RestartCount"], f"{self.name} to be started again")
        until(lambda: self.state()["Running"], f"{self.name} to run")

    def stop(self) -> dict[str, object]:
        """Stops it as `docker stop` does, with the time that it was given at its start."""
        began = time.monotonic()
        self._engine.docker("stop", self.name)
        return {"seconds": round(time.monotonic() - began, 1), "exit_code": self.state()["ExitCode"]}

    def start(self) -> None:
        """Starts it again."""
        self._engine.docker("start", self.name)

    def lines(self) -> list[str]:
        """All that it ever logged."""
        _, said, complained = self._engine.outcome("logs", self.name)
        return [line for line in (said + complained).splitlines() if line]

    def remove(self) -> None:
        """Its volumes stay."""
        self._engine.docker("rm", "--force", self.name)


@contextlib.contextmanager
def started(engine: Engine, name: str, *options: str, image: str, command: tuple[str, ...] = ()) -> Iterator[Container]:
    """A container for the length of the block."""
    full = f"{PREFIX}-{name}"
    engine.docker("run", "--detach", "--name", full, "--restart", "unless-stopped", *options, image, *command)
    container = Container(engine, full)
    try:
        yield container
    finally:
        container.remove()


def no_json(lines: list[str]) -> list[str]:
    """The lines that are no JSON object."""
    return [line for line in lines if not _is_object(line)]


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
