"""Runs a tracker's library in a process with a time limit, so that it can neither block nor crash the worker."""

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

#: Most characters of a reason, and last bytes of standard error that are kept.
MAX_REASON_CHARACTERS, MAX_LOG_BYTES = 500, 8192

#: Defaults that the operator's environment can override: no telemetry to third parties, and few retries.
LIBRARY_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "WANDB_ERROR_REPORTING": "false",
}


async def run_tracker(task: TrackingTask, limit_seconds: float = LIMIT_SECONDS) -> Logged | NotLogged:
    """Runs the export and returns its outcome, with secrets redacted. Cancelling ends the process group first.

    Raises OSError when the process cannot be started.
    """
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write(task.model_dump_json().encode())
        stdin.seek(0)
        process = await anyio.open_process(
            COMMAND, stdin=stdin, stdout=stdout, stderr=stderr, env=_environment(os.environ), start_new_session=True
        )
        try:
            with anyio.move_on_after(limit_seconds):
                await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                ended = process.returncode
                await _end(process)
        return _outcome(task, _tail(stdout, None), _tail(stderr, MAX_LOG_BYTES), ended, limit_seconds)


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """The worker's environment, which has the trackers' keys and URLs, without Halftime's settings."""
    return LIBRARY_DEFAULTS | {name: value for name, value in own.items() if not name.startswith("HALFTIME_")}


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _tail(file: IO[bytes], max_bytes: int | None) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - max_bytes) if max_bytes else 0)
    return file.read().decode("utf-8", "replace")


def _outcome(
    task: TrackingTask, stdout: str, stderr: str, exit_code: int | None, limit_seconds: float
) -> Logged | NotLogged:
    outcome = (
        OUTCOME.validate_json(stdout) if stdout else NotLogged(reason=_no_outcome_reason(exit_code, limit_seconds))
    )
    if isinstance(outcome, Logged):
        return Logged(run_id=outcome.run_id, url=outcome.url and redacted(outcome.url, os.environ))
    reason = redacted(outcome.reason, os.environ)[:MAX_REASON_CHARACTERS]
    log.warning("report not exported", tracker=task.tracker, reason=reason, standard_error=redacted(stderr, os.environ))
    return NotLogged(reason=reason)


def _no_outcome_reason(exit_code: int | None, limit_seconds: float) -> str:
    """Returns why a process ended without an outcome."""
    if exit_code is None:
        return f"The export took longer than {limit_seconds:g} s. Check that the worker can reach the tracker's server."
    if exit_code < 0:
        return f"The process was killed by {signal.Signals(-exit_code).name}. Check the worker's log."
    return f"The process ended with exit code {exit_code}. Check the worker's log."
