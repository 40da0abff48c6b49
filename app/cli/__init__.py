"""The command `halftime`. Commands against a server need the base installation alone, the others an extra."""

from app.cli.commands import catalogue, changing, exporting, reading, running, watching, workers
from app.cli.missing_extra import offer_with_remedy
from app.cli.shared import cli

try:
    from app.cli.commands import doctor, keys, migrating, serving
except ModuleNotFoundError as error:
    offer_with_remedy(cli, error)

__all__ = ["catalogue", "changing", "cli", "exporting", "main", "reading", "running", "watching", "workers"]
__all__ += ["doctor", "keys", "migrating", "serving"]


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="halftime")
