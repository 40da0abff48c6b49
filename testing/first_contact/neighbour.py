"""A foreign process on the device: the trial that runs at the same time must report it."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import anyio
import anyio.to_thread

from testing.first_contact.lines import NeighbourLine
from testing.first_contact.processes import OutOfTime
from testing.first_contact.scale import Scale
from testing.first_contact.timetable import Deadline
from testing.first_contact.trials import Trials, specified
from worker.device import other_processes

#: Allocates device memory, prints a line, and computes until it is killed or its parent has ended.
NEIGHBOUR = """
import os, sys, threading, torch
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
held = torch.ones(2**24, device=sys.argv[1])
print("ready", flush=True)
while True:
    held.sum().item()
"""

#: Timeout in place of a trial's minute of waiting for a free device: here the device is known to be in use.
MAX_WAIT_SECONDS = 1.0

#: Polls of the device after the neighbour ended, and the pause between them.
LOOKS, LOOK_SECONDS = 10, 0.3


async def run_beside_a_neighbour(device: str, scale: Scale, trials: Trials, deadline: Deadline) -> None:
    """Run one trial while a foreign process computes on the device; list the device's processes after it ended."""
    with _impatient(), _neighbour(device) as process:
        assert process.stdout is not None
        line = ""
        with anyio.move_on_after(deadline.seconds_left()):
            line = await anyio.to_thread.run_sync(process.stdout.readline, abandon_on_cancel=True)
        if not line:
            raise OutOfTime("the neighbour did not allocate device memory in time")
        before = other_processes.query_usage(device)
        spec = specified(device, scale, "fp32", scale.models["mlp"])
        await trials.run("neighbour", spec, deadline)
    after = await _poll_until_gone(device)
    trials.record.write(
        NeighbourLine(
            pid=process.pid,
            seen_before=before.processes if before else [],
            seen_after=after.processes if after else [],
        )
    )


async def _poll_until_gone(device: str) -> other_processes.DeviceUsage | None:
    """Poll until the process is gone: the driver may list it for a moment after its end."""
    for _ in range(LOOKS):
        occupation = other_processes.query_usage(device)
        if occupation is None or not occupation.processes:
            break
        await anyio.sleep(LOOK_SECONDS)
    return occupation


@contextlib.contextmanager
def _neighbour(device: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", NEIGHBOUR, device]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    before = other_processes.MAX_WAIT_SECONDS
    other_processes.MAX_WAIT_SECONDS = MAX_WAIT_SECONDS
    try:
        yield
    finally:
        other_processes.MAX_WAIT_SECONDS = before
