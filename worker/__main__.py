"""`python -m worker`: what `halftime worker` and `halftime doctor` start. The app itself never imports the worker."""

import asyncio
import json
import sys
from typing import Annotated

import typer
from sqlalchemy.exc import OperationalError

from app.logs import configure_logs
from app.settings import Settings

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="Halftime's worker.")


@cli.command()
def run(
    device: Annotated[str, typer.Option(help="`cpu`, `cuda:0`, or `auto`: the first GPU, else the CPU")] = "auto",
    worker_id: Annotated[str | None, typer.Option("--id", help="default: host and device")] = None,
) -> None:
    """Claims benchmarks and runs them until it is told to stop."""
    from worker.device import detect  # noqa: PLC0415 # loads torch
    from worker.main import Superseded, run_worker  # noqa: PLC0415

    settings = Settings()
    configure_logs(settings.log_format)
    try:
        asyncio.run(run_worker(settings, detect(device), worker_id))
    except* Superseded as group:
        sys.exit(str(group.exceptions[0]))
    except* ValueError as group:
        sys.exit(str(group.exceptions[0]))
    except* OperationalError as group:
        sys.exit(f"The database does not answer. Check HALFTIME_DATABASE_URL. {group.exceptions[0]}")


@cli.command()
def probe() -> None:
    """Prints, as JSON, the devices and precisions of this machine."""
    from worker.doctor import probe_devices  # noqa: PLC0415 # loads torch

    print(json.dumps(probe_devices()))


if __name__ == "__main__":
    cli()
