"""The record of all checks, printed as they run."""

import time
import traceback
from collections.abc import Callable

from halftime.client import ClientError
from testing.images.commands import CommandFailed


class Record:
    """Every check with its outcome and figures."""

    def __init__(self) -> None:
        self.checks: dict[str, dict[str, object]] = {}
        self._began = time.monotonic()

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check["ok"] for check in self.checks.values())

    def note(self, name: str, ok: bool, **figures: object) -> None:
        """Keep and print a check."""
        assert name not in self.checks, name
        self.checks[name] = {"ok": ok, **figures}
        print(f"{self.seconds():6.1f} s  {'ok ' if ok else 'BAD'}  {name}: {figures}", flush=True)

    def attempt(self, name: str, part: Callable[[], None]) -> None:
        """Run a part; an error becomes a failed check, and the next part still runs."""
        try:
            part()
        except (CommandFailed, ClientError, TimeoutError) as error:
            traceback.print_exc()
            self.note(name, False, error=f"{type(error).__name__}: {error}")

    def seconds(self) -> float:
        """Seconds since the beginning."""
        return round(time.monotonic() - self._began, 1)
