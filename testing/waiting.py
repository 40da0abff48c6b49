"""Waiting for a condition by polling."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

PATIENCE_SECONDS = 120.0
LOG_CHARACTERS = 6000

Result = TypeVar("Result")


def wait_until(
    condition: Callable[[], Result],
    awaited: str = "a condition",
    *,
    timeout_seconds: float = PATIENCE_SECONDS,
    pause_seconds: float = 0.05,
    log: Path | None = None,
) -> Result:
    """Return the condition's first truthy value. Raises TimeoutError, with the end of the log."""
    deadline = time.monotonic() + timeout_seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            end = f"; the log ends:\n{log.read_text(errors='replace')[-LOG_CHARACTERS:]}" if log else ""
            raise TimeoutError(f"waited {timeout_seconds:.0f} s in vain for {awaited}{end}")
        time.sleep(pause_seconds)
    return result
