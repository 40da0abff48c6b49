"""Starts that the images of API and worker refuse, with their messages."""

from testing.images.containers import tag
from testing.images.engine import Engine
from testing.images.record import Record

SOMEWHERE = "postgresql://halftime@192.0.2.1/halftime"


def check(engine: Engine, record: Record) -> None:
    """Start without a database, with its setting misspelt, and a worker where there is no torch."""
    misspelt = ["--env", f"HALFTIME_DATABSE_URL={SOMEWHERE}"]
    for target in ("api", "worker"):
        _refused(engine, record, f"{target} without a database", [tag(target)], "HALFTIME_DATABASE_URL: not set")
        _refused(
            engine, record, f"{target} with a misspelt one", [*misspelt, tag(target)], "HALFTIME_DATABSE_URL is no"
        )
    worker = ["--env", f"HALFTIME_DATABASE_URL={SOMEWHERE}", tag("api"), "halftime", "worker", "--device", "cpu"]
    _refused(engine, record, "a worker in the image of the API", worker, "pip install 'halftime[worker]'")


def _refused(engine: Engine, record: Record, what: str, words: list[str], because: str) -> None:
    code, output, errors = engine.outcome("run", "--rm", *words)
    good = code == 2 and because in errors and "Traceback" not in output + errors
    record.note(f"refused: {what}", good, exit_code=code, said=errors.strip()[-300:])
