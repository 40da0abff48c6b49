"""What was found, line by line as it is found."""

import time
import traceback
from collections.abc import Callable

from halftime.client import ClientError
from testing.images.commands import CommandFailed
from testing.images.containers import Impatient


class Record:
    """Every check with whether it held and its figures."""

    def __init__(self) -> None:
        self.checks: dict[str, dict[str, object]] = {}
        self._began = time.monotonic()

    @property
    def holds(self) -> bool:
        """Whether every check does."""
        return all(check["ok"] for check in self.checks.values())

    def note(self, name: str, ok: bool, **figures: object) -> None:
        """Keeps a check, and says it."""
        assert name not in self.checks, name
        self.checks[name] = {"ok": ok, **figures}
        print(f"{self.seconds():6.1f} s  {'ok ' if ok else 'BAD'}  {name}: {figures}", flush=True)

    def attempt(self, name: str, part: Callable[[], None]) -> None:
        """Does a part; what keeps it from its end is a check that does not hold, and the next part is done."""
        try:
            part()
        except (CommandFailed, ClientError, Impatient) as error:
            traceback.print_exc()
            self.note(name, False, error=f"{type(error).__name__}: {error}")

    def seconds(self) -> float:
        """Since the beginning."""
        return round(time.monotonic() - self._began, 1)
