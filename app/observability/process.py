"""The exit of Halftime's processes: on SIGTERM, or with a message and an exit code."""

import os
import signal
import sys
from typing import NoReturn

import structlog

from app.observability.logs import configure_logs

#: Exit code for invalid settings, which a restart cannot fix. The systemd units do not restart after it.
WRONG_SETTINGS = 2


def end_well_on_sigterm() -> None:
    """Makes SIGTERM end the process with exit code 0 after open resources are closed.

    This applies while the process starts, and after uvicorn has stopped, because uvicorn raises the signal again.
    """
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))


def end(message: str, exit_code: int) -> NoReturn:
    """Ends a process of the service with a message: as the last log line if the log is JSON, else as plain text.

    The log format is read from the environment, because the settings themselves may be invalid.
    """
    if os.environ.get("HALFTIME_LOG_FORMAT") == "json":
        configure_logs("json")
        structlog.get_logger(__name__).error(message)
    else:
        print(message, file=sys.stderr)
    sys.exit(exit_code)
