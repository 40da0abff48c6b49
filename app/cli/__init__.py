"""The command `halftime`."""

from app.cli.commands import (
    catalogue,
    changing,
    doctor,
    exporting,
    keys,
    migrating,
    reading,
    running,
    serving,
    watching,
    workers,
)
from app.cli.shared import cli

__all__ = [
    "catalogue",
    "changing",
    "cli",
    "doctor",
    "exporting",
    "keys",
    "main",
    "migrating",
    "reading",
    "running",
    "serving",
    "watching",
    "workers",
]


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="halftime")
