"""The command `halftime`. Commands against a server need the base installation alone, the others an extra."""

import sys
import traceback

from app.cli.commands import catalogue, changing, exporting, reading, running, watching, workers
from app.cli.exit_codes import OUTPUT_CLOSED, UNEXPECTED_ERROR
from app.cli.missing_extra import offer_with_remedy
from app.cli.shared import cli, note

try:
    from app.cli.commands import doctor, keys, migrating, serving
except ModuleNotFoundError as error:
    offer_with_remedy(cli, error)

__all__ = ["catalogue", "changing", "cli", "exporting", "main", "reading", "running", "watching", "workers"]
__all__ += ["doctor", "keys", "migrating", "serving"]


def main() -> None:
    """Entry point of the console script. No error of the command ends with an exit code that means a verdict."""
    try:
        cli(prog_name="halftime")
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            sys.exit(OUTPUT_CLOSED)
        raise
    except Exception:  # the last resort
        traceback.print_exc()
        note("This is an error of the command `halftime`, not a result. Please report it with the lines above.")
        sys.exit(UNEXPECTED_ERROR)
