"""`up`, `serve`, `worker`: the processes."""

import asyncio
import os
import sys
from typing import Annotated

import typer
import uvicorn
from pydantic import ValidationError

from app.cli.database import NoDatabase, in_database
from app.cli.shared import cli, fail
from app.cli.supervisor import Child, supervise
from app.logs import configure_logs
from app.settings import Settings

#: What a stopping API waits for clients that listen to a stream; they come back to the next one.
STREAMS_SECONDS = 2

DeviceOption = Annotated[str, typer.Option(help="`cpu`, `cuda:0`, or `auto`: the first GPU, else the CPU")]


@cli.command()
def up(device: DeviceOption = "auto") -> None:
    """Runs the API and one worker, restarts what dies, and stops both on Ctrl-C or SIGTERM."""
    settings = settings_or_exit()
    configure_logs(settings.log_format)
    refuse_open_address(settings)
    children = [
        Child("serve", [sys.executable, "-m", "app.cli", "serve"]),
        Child("worker", [sys.executable, "-m", "worker", "run", "--device", device]),
    ]
    asyncio.run(supervise(children))


@cli.command()
def serve() -> None:
    """Runs the API on HALFTIME_HOST and HALFTIME_PORT."""
    from app.main import create_app  # noqa: PLC0415 # the other commands start faster without it

    settings = settings_or_exit()
    configure_logs(settings.log_format)
    refuse_open_address(settings)
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
    device: DeviceOption = "auto",
    worker_id: Annotated[str | None, typer.Option("--id", help="default: host and device")] = None,
) -> None:
    """Runs a worker: it owns one device and takes one benchmark at a time."""
    identity = ["--id", worker_id] if worker_id else []
    os.execv(  # noqa: S606 # the app never imports the worker; it becomes it
        sys.executable, [sys.executable, "-m", "worker", "run", "--device", device, *identity]
    )


def refuse_open_address(settings: Settings) -> None:
    """Ends the command where no key was ever made and others reach the address, unless told to go on."""
    if settings.open_without_keys or settings.require_api_key:
        return
    from app.store import keys  # noqa: PLC0415 # the other commands start faster without it

    try:
        a_key_was_made = in_database(settings, keys.any_made)
    except NoDatabase:
        return  # The server says what is wrong. On such an address it lets nobody in without a key.
    if not a_key_was_made:
        fail(
            f"HALFTIME_HOST is {settings.host}, which others reach, and no API key was ever made. "
            "Make one with `halftime keys create NAME`, or set HALFTIME_ALLOW_ANONYMOUS=true where the network keeps "
            "strangers out.",
            2,
        )


def settings_or_exit() -> Settings:
    """The settings of the environment; one line for each that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        faults = [f"HALFTIME_{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors()]
        fail("\n".join(faults), 2)
