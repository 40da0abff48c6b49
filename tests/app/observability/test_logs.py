"""What a log line looks like, and what never stands in one."""

import json
import logging
import subprocess
import sys
import textwrap
import threading

import pytest
import structlog

from app.observability.logs import configure_logs


@pytest.fixture
def logged(capsys):
    """Configures the log and gives what was written; afterwards everything is as before."""
    handlers, level = logging.root.handlers[:], logging.root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    configured = structlog.get_config()

    def read(log_format, write):
        configure_logs(log_format)
        write(structlog.get_logger("worker.agent.job"))
        return capsys.readouterr().err

    yield read
    structlog.configure(**configured)
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.root.handlers[:], logging.root.level = handlers, level


def test_a_json_line_has_what_is_bound_under_stable_names(logged):
    def write(log):
        with structlog.contextvars.bound_contextvars(benchmark="0198", attempt=2, leg="bf16", block=3):
            log.info("trial finished", request_id="r-7")

    line = json.loads(logged("json", write))
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "worker.agent.job",
        "event": "trial finished",
        "benchmark": "0198",
        "attempt": 2,
        "leg": "bf16",
        "block": 3,
        "request_id": "r-7",
    }


SECRETIVE = [
    {"event": "Authorization: Bearer hunter2"},
    {"event": "authorization=hunter2 and more"},
    {"event": "sent", "headers": {"Authorization": "Basic hunter2"}},
    {"event": "sent", "headers": [(b"authorization", b"Bearer hunter2")]},
    {"event": "sent", "body": json.dumps({"authorization": "hunter2"})},
    {"event": "the token was bearer hunter2"},
    {"event": "signed", "secret": "whsec_hunter2"},
]


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("said", SECRETIVE, ids=str)
def test_keys_and_secrets_are_not_written(logged, log_format, said):
    written = logged(log_format, lambda log: log.info(**said))
    assert "hunter2" not in written
    assert "[redacted]" in written
    if log_format == "json":
        json.loads(written)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_is_written_without_local_variables(logged, log_format):
    def write(log):
        hidden = "hunter2"
        try:
            raise RuntimeError(f"a fault of {len(hidden)} letters")
        except RuntimeError:
            log.exception("failed")

    written = logged(log_format, write)
    assert "RuntimeError: a fault of 7 letters" in written
    assert "hunter2" not in written.replace('hidden = "hunter2"', "")


def test_what_python_itself_says_is_json_too():
    program = """
        import threading, warnings
        from app.observability.logs import configure_logs

        class Unruly:
            def __del__(self):
                raise RuntimeError("in a finalizer")

        def fail(where):
            raise RuntimeError(where)

        configure_logs("json")
        warnings.warn("a warning")
        Unruly()
        thread = threading.Thread(target=fail, args=["in a thread"])
        thread.start()
        thread.join()
        fail("in the main thread")
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    said = [line["event"] + line.get("exception", "") for line in lines]
    for text, line in zip(("a warning", "a finalizer", "a thread", "the main thread"), said, strict=True):
        assert text in line
