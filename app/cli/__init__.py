"""The command `halftime`."""

from app.cli import doctor, keys, reading, running, serving
from app.cli.shared import cli

__all__ = ["cli", "doctor", "keys", "main", "reading", "running", "serving"]


def main() -> None:
    """The console script's entry."""
    cli(prog_name="halftime")
