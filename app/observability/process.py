"""How a process of Halftime ends: on SIGTERM, and with a reason and an exit code."""

import os
import signal
import sys
from typing import NoReturn

import structlog

from app.observability.logs import configure_logs

#: Exit code for invalid settings, where a restart cannot help. The systemd units do not restart after it.
WRONG_SETTINGS = 2


def end_well_on_sigterm() -> None:
    """Lets SIGTERM end the process with exit code 0, after everything that is open has been closed.

    Holds while the process starts, and after uvicorn has stopped: uvicorn raises the signal once more.
    """
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))


def end(message: str, exit_code: int) -> NoReturn:
    """Ends a process of the service with the reason: as the log's last line where that is JSON, else in plain words.

    Also before the settings are read, which may be what is wrong: the environment says what the log shall be.
    """
    if os.environ.get("HALFTIME_LOG_FORMAT") == "json":
        configure_logs("json")
        structlog.get_logger(__name__).error(message)
    else:
        print(message, file=sys.stderr)
    sys.exit(exit_code)
