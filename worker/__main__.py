"""`python -m worker`, started by `halftime worker` and `halftime doctor`; the app itself never imports the worker."""

import asyncio
import json
import os
import platform
import re
from typing import Annotated

import typer
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from app.observability.logs import configure_logs
from app.observability.process import WRONG_SETTINGS, end, end_well_on_sigterm
from app.settings import Settings, faults

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="Halftime's worker.")


def _usable_id(worker_id: str | None) -> str | None:
    if worker_id is not None and not re.fullmatch(r"[^/\x00-\x1f]{1,200}", worker_id):
        raise typer.BadParameter("must have 1 to 200 characters and no slash: it is part of the worker's URL")
    return worker_id


@cli.command()
def run(
    device: Annotated[
        str,
        typer.Option(
            help="`cpu`, `cuda:0`, the UUID (or a prefix of it) of a GPU or MIG instance, or `auto`: the first GPU, "
            "or the CPU if there is none"
        ),
    ] = "auto",
    worker_id: Annotated[str | None, typer.Option("--id", callback=_usable_id, help="default: host and device")] = None,
) -> None:
    """Claims and runs benchmarks until stopped."""
    end_well_on_sigterm()
    settings = _settings()
    configure_logs(settings.log_format)
    from app.store.database.migrate import UnknownSchema  # noqa: PLC0415
    from worker.agent.launcher import TrialLauncher  # noqa: PLC0415
    from worker.agent.worker import Superseded, run_worker  # noqa: PLC0415
    from worker.device import lock as device_lock  # noqa: PLC0415
    from worker.device import nvml  # noqa: PLC0415
    from worker.device.detection import detect  # noqa: PLC0415

    if device.startswith(nvml.UUID_PREFIXES):
        worker_id = worker_id or f"{platform.node()}:{device}"
        os.environ["CUDA_VISIBLE_DEVICES"], device = device, "cuda:0"
    _number_gpus_as_nvml_does()
    try:
        worker_device = detect(device)
        with device_lock.locked(worker_device, settings.lock_dir) as lock:
            asyncio.run(run_worker(settings, worker_device, TrialLauncher(lock), worker_id))
    except* device_lock.DeviceInUse as group:
        end(str(group.exceptions[0]), os.EX_TEMPFAIL)
    except* (device_lock.LockUnusable, UnknownSchema) as group:
        end(str(group.exceptions[0]), WRONG_SETTINGS)
    except* (Superseded, ValueError) as group:
        end(str(group.exceptions[0]), 1)
    except* OperationalError as group:
        end(f"Could not connect to the database. Check HALFTIME_DATABASE_URL. {group.exceptions[0]}", 1)


@cli.command()
def devices() -> None:
    """Prints, as JSON, the values of `--device` on this machine, one for each worker that can run."""
    from worker.device import nvml  # noqa: PLC0415 # loads the driver's library

    print(json.dumps(nvml.available_devices()))


@cli.command()
def probe() -> None:
    """Prints, as JSON, the devices of this machine and the precisions they support."""
    from worker.trial.probe import probe_devices  # noqa: PLC0415 # loads torch

    _number_gpus_as_nvml_does()
    print(json.dumps(probe_devices()))


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        end(faults(error), WRONG_SETTINGS)


def _number_gpus_as_nvml_does() -> None:
    """Makes CUDA number GPUs by PCI bus id, as NVML does; by default CUDA puts the fastest first."""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


if __name__ == "__main__":
    cli()
