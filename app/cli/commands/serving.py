"""`up`, `serve`, `worker`: the processes."""

import asyncio
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer
import uvicorn
from pydantic import ValidationError

from app.cli.database import NoDatabase, WrongDatabase, in_database, is_missing
from app.cli.shared import cli, fail
from app.cli.supervisor import DYING_SECONDS, Child, supervise
from app.observability.logs import configure_logs
from app.observability.process import WRONG_SETTINGS, end, end_well_on_sigterm
from app.settings import Settings, faults

#: What a stopping API waits for clients that listen to a stream; they come back to the next one.
STREAMS_SECONDS = 2

#: For the list of this machine's devices: torch is loaded for it, and a driver may hang.
DEVICES_SECONDS = 180.0

DeviceOption = Annotated[
    str | None,
    typer.Option(
        help="`cpu`, `cuda:0`, the UUID of a GPU or MIG instance or its beginning; default: a worker for each GPU, "
        "else for the CPU"
    ),
]


@cli.command()
def up(device: DeviceOption = None) -> None:
    """Runs the API and its workers, restarts what dies, and stops all on Ctrl-C or SIGTERM; at once on the second."""
    _settings_to_serve_with()
    refuse_without_torch()
    api = Child("serve", [sys.executable, "-m", "app.cli", "serve"])
    asyncio.run(supervise([api, *_workers([device] if device else _devices())]))


@cli.command()
def serve() -> None:
    """Runs the API on HALFTIME_HOST and HALFTIME_PORT."""
    settings = _settings_to_serve_with()
    refuse_wrong_database(settings)
    from app.main import create_app  # noqa: PLC0415 # the other commands start faster without it

    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http="h11",  # refuses headers over 64 KiB
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=STREAMS_SECONDS,
    )


@cli.command()
def worker(
    device: DeviceOption = None,
    worker_id: Annotated[str | None, typer.Option("--id", help="of one worker; default: host and device")] = None,
) -> None:
    """Runs a worker for each GPU of this machine, else for its CPU, and restarts those that die; or one of them.

    A worker owns one device and takes one benchmark at a time.
    """
    end_well_on_sigterm()
    settings = settings_or_exit(end)
    refuse_without_torch()
    if device is None and worker_id is None:
        configure_logs(settings.log_format)
        asyncio.run(supervise(_workers(_devices())))
        return
    identity = ["--id", worker_id] if worker_id else []
    # The app never imports the worker; it becomes it.
    os.execv(sys.executable, [*_worker_command(device or "auto"), *identity])  # noqa: S606


def _settings_to_serve_with() -> Settings:
    """The settings, once the log is as they say. Ends the command where nothing can be served with them."""
    end_well_on_sigterm()
    settings = settings_or_exit(end)
    configure_logs(settings.log_format)
    refuse_open_address(settings)
    refuse_full_disk(settings)
    return settings


def _workers(devices: list[str]) -> list[Child]:
    return [Child(f"worker {device}", _worker_command(device)) for device in devices]


def _worker_command(device: str) -> list[str]:
    return [sys.executable, "-m", "worker", "run", "--device", device]


def _devices() -> list[str]:
    """One for each worker that this machine has room for. Ends the command where they cannot be told."""
    asked = subprocess.Popen(
        [sys.executable, "-m", "worker", "devices"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        told, complaint = asked.communicate(timeout=DEVICES_SECONDS)
    except subprocess.TimeoutExpired:
        asked.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may hang in the driver
            asked.communicate(timeout=DYING_SECONDS)
        end(
            f"The devices of this machine did not answer within {DEVICES_SECONDS:.0f} s. Check `nvidia-smi` and the "
            "kernel's log; reset the GPU or reboot. --device cpu does without it.",
            1,
        )
    if asked.returncode:
        reason = complaint.strip().split("\n")[-1]
        end(f"The devices of this machine cannot be told ({reason}). pip install 'halftime[worker]', or --device.", 1)
    devices: list[str] = json.loads(told)
    return devices


def refuse_without_torch() -> None:
    """Ends a command that runs workers where their libraries are not installed, as in the API's image."""
    if importlib.util.find_spec("torch") is None:
        end("A worker needs torch: pip install 'halftime[worker]', or use the image of the worker.", WRONG_SETTINGS)


def refuse_open_address(settings: Settings) -> None:
    """Ends the command where no key was ever made and others reach the address, unless told to go on."""
    if settings.open_without_keys or settings.require_api_key:
        return
    from app.store import keys  # noqa: PLC0415 # the other commands start faster without it

    try:
        a_key_was_made = in_database(settings, keys.any_made)
    except WrongDatabase as error:
        end(str(error), WRONG_SETTINGS)
    except NoDatabase:
        return  # The server says what is wrong. On such an address it lets nobody in without a key.
    if not a_key_was_made:
        end(
            f"HALFTIME_HOST is {settings.host}, which others reach, and no API key was ever made. "
            "Make one with `halftime keys create NAME`, or set HALFTIME_ALLOW_ANONYMOUS=true where the network keeps "
            "strangers out.",
            WRONG_SETTINGS,
        )


def refuse_full_disk(settings: Settings) -> None:
    """Ends the command where the embedded PostgreSQL is short of room and does not start."""
    from app.store import keys  # noqa: PLC0415 # the other commands start faster without it
    from app.store.database import embedded  # noqa: PLC0415

    if settings.database_url is not None or not embedded.is_short_of_room(settings.data_dir):
        return
    try:
        in_database(settings, keys.any_made)
    except NoDatabase as error:
        end(str(error), 1)


def refuse_wrong_database(settings: Settings) -> None:
    """Ends the command where another version of Halftime made the database: from a starting app comes a traceback."""
    if is_missing(settings):
        return
    from app.store import keys  # noqa: PLC0415 # the other commands start faster without it

    try:
        in_database(settings, keys.any_made)
    except WrongDatabase as error:
        end(str(error), WRONG_SETTINGS)
    except NoDatabase:
        return  # The server says what is wrong.


def settings_or_exit(give_up: Callable[[str, int], NoReturn] = fail) -> Settings:
    """The settings of the environment. Ends the command where some are wrong, with a line for each."""
    try:
        return Settings()
    except ValidationError as error:
        give_up(faults(error), WRONG_SETTINGS)
