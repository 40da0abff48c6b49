"""Runs a tracker's library in a process of its own, with a time limit: it can neither hold the worker nor kill it."""

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from typing import IO

import anyio
import structlog
from anyio.abc import Process

from worker.agent.tracking.messages import LIMIT_SECONDS, OUTCOME, Logged, NotLogged, TrackingTask
from worker.agent.tracking.redaction import redacted

log = structlog.get_logger(__name__)

COMMAND = (sys.executable, "-m", "worker.agent.tracking")

#: Of a reason, and of what the process wrote to standard error, kept from the end.
MOST_CHARACTERS, MOST_LOG_BYTES = 500, 8192

#: For the libraries, where the operator says nothing else: they tell no third party of their use, and give up in time.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "WANDB_ERROR_REPORTING": "false",
}


async def run_tracker(task: TrackingTask, limit_seconds: float = LIMIT_SECONDS) -> Logged | NotLogged:
    """What came of it, no secret in the reason. Cancelling ends the process and its group before it returns.

    Raises OSError where no process can be started.
    """
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
        asked.write(task.model_dump_json().encode())
        asked.seek(0)
        process = await anyio.open_process(
            COMMAND, stdin=asked, stdout=said, stderr=errors, env=_environment(os.environ), start_new_session=True
        )
        try:
            with anyio.move_on_after(limit_seconds):
                await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                ended = process.returncode
                await _end(process)
        return _outcome(task, _tail(said, None), _tail(errors, MOST_LOG_BYTES), ended, limit_seconds)


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """The worker's own, for the trackers' keys and addresses; Halftime's settings are no library's business."""
    return QUIET | {name: value for name, value in own.items() if not name.startswith("HALFTIME_")}


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _tail(file: IO[bytes], most_bytes: int | None) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - most_bytes) if most_bytes else 0)
    return file.read().decode("utf-8", "replace")


def _outcome(
    task: TrackingTask, said: str, errors: str, exit_code: int | None, limit_seconds: float
) -> Logged | NotLogged:
    outcome = OUTCOME.validate_json(said) if said else NotLogged(reason=_silence(exit_code, limit_seconds))
    if isinstance(outcome, Logged):
        return Logged(run_id=outcome.run_id, url=outcome.url and redacted(outcome.url, os.environ))
    reason = redacted(outcome.reason, os.environ)[:MOST_CHARACTERS]
    log.warning("not logged", tracker=task.tracker, reason=reason, standard_error=redacted(errors, os.environ))
    return NotLogged(reason=reason)


def _silence(exit_code: int | None, limit_seconds: float) -> str:
    """Why a process said nothing."""
    if exit_code is None:
        return f"It took longer than {limit_seconds:g} s. Is the tracker's server reachable from the worker?"
    if exit_code < 0:
        return f"Its process was killed by {signal.Signals(-exit_code).name}; the worker's log may say more."
    return f"Its process ended with exit code {exit_code}; the worker's log says more."
