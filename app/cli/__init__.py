"""The command `halftime`."""

from app.cli import catalogue, changing, doctor, exporting, reading, running, serving
from app.cli.shared import cli

__all__ = ["catalogue", "changing", "cli", "doctor", "exporting", "main", "reading", "running", "serving"]


def main() -> None:
    """The console script's entry."""
    cli(prog_name="halftime")
