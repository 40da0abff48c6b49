"""The commands `up`, `serve` and `worker`: run the service's processes."""

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

#: How long a stopping API waits for clients that read a stream; they reconnect to the next one.
STREAMS_SECONDS = 2

#: Time limit for listing this machine's devices, which loads torch; a driver may hang.
DEVICES_SECONDS = 180.0

DeviceOption = Annotated[
    str | None,
    typer.Option(
        help="`cpu`, `cuda:0`, or the UUID of a GPU or MIG instance, which may be abbreviated; default: one worker per "
        "GPU, or one for the CPU if there is no GPU"
    ),
]


@cli.command()
def up(device: DeviceOption = None) -> None:
    """Runs the API and its workers, and restarts processes that exit.

    Ctrl-C or SIGTERM stops all of them; a second one stops them immediately.
    """
    settings = _settings_to_serve_with()
    refuse_without_torch()
    refuse_wrong_database(settings)
    api = Child("serve", [sys.executable, "-m", "app.cli", "serve"])
    asyncio.run(supervise([api, *_workers([device] if device else list_devices())]))


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
    worker_id: Annotated[
        str | None, typer.Option("--id", help="ID of a single worker; default: host name and device")
    ] = None,
) -> None:
    """Runs one worker per GPU of this machine, or one for its CPU, and restarts workers that exit.

    With --device or --id it runs a single worker. A worker owns one device and runs one benchmark at a time.
    """
    end_well_on_sigterm()
    settings = settings_or_exit(end)
    refuse_without_torch()
    if device is None and worker_id is None:
        configure_logs(settings.log_format)
        refuse_wrong_database(settings)
        asyncio.run(supervise(_workers(list_devices())))
        return
    identity = ["--id", worker_id] if worker_id else []
    # The app never imports the worker; this process is replaced by it.
    os.execv(sys.executable, [*_worker_command(device or "auto"), *identity])  # noqa: S606


def _settings_to_serve_with() -> Settings:
    """Returns the settings after configuring the log. Ends the command when the service cannot start with them."""
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


def list_devices() -> list[str]:
    """Returns one device per worker to start on this machine. Ends the command when they cannot be listed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "devices"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        output, errors = process.communicate(timeout=DEVICES_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may hang in the driver
            process.communicate(timeout=DYING_SECONDS)
        end(
            f"Listing this machine's devices timed out after {DEVICES_SECONDS:.0f} s. Check `nvidia-smi` and the "
            "kernel log; reset the GPU or reboot. To use the CPU only, pass --device cpu.",
            1,
        )
    if process.returncode:
        reason = errors.strip().split("\n")[-1]
        end(
            f"Could not list this machine's devices ({reason}). Run pip install 'halftime[worker]', or pass --device.",
            1,
        )
    devices: list[str] = json.loads(output)
    return devices


def refuse_without_torch() -> None:
    """Ends a command that runs workers when torch is not installed, as in the API's image."""
    if importlib.util.find_spec("torch") is None:
        end("A worker needs torch: pip install 'halftime[worker]', or use the worker image.", WRONG_SETTINGS)


def refuse_open_address(settings: Settings) -> None:
    """Ends the command when the address is reachable by others, no key was ever created, and nothing allows that."""
    if settings.open_without_keys or settings.require_api_key:
        return
    from app.store import keys  # noqa: PLC0415 # the other commands start faster without it

    try:
        a_key_was_made = in_database(settings, keys.any_made)
    except WrongDatabase as error:
        end(str(error), WRONG_SETTINGS)
    except NoDatabase:
        return  # The server reports the error, and on such an address refuses requests without a key.
    if not a_key_was_made:
        end(
            f"HALFTIME_HOST is {settings.host}, which other machines can reach, and there is no API key. "
            "Create one with `halftime keys create NAME`, or set HALFTIME_ALLOW_ANONYMOUS=true if the network is "
            "trusted.",
            WRONG_SETTINGS,
        )


def refuse_full_disk(settings: Settings) -> None:
    """Ends the command when the disk is nearly full and the embedded PostgreSQL does not start."""
    from app.store import keys  # noqa: PLC0415 # the other commands start faster without it
    from app.store.database import embedded  # noqa: PLC0415

    if settings.database_url is not None or not embedded.is_short_of_room(settings.data_dir):
        return
    try:
        in_database(settings, keys.any_made)
    except NoDatabase as error:
        end(str(error), 1)


def refuse_wrong_database(settings: Settings) -> None:
    """Ends the command when another version of Halftime made the database: no restart would help."""
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
    """Returns the settings of the environment. Ends the command with one line per invalid setting."""
    try:
        return Settings()
    except ValidationError as error:
        give_up(faults(error), WRONG_SETTINGS)
