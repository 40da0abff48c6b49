"""A process of another on the device: the trial beside it must name it."""

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

#: Holds memory of a device, says so, and computes until it is ended, or whoever started it is gone.
NEIGHBOUR = """
import os, sys, threading, torch
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
held = torch.ones(2**24, device=sys.argv[1])
print("ready", flush=True)
while True:
    held.sum().item()
"""

#: A trial would wait a minute for the device to be free; here it is known not to be.
MAX_WAIT_SECONDS = 1.0

#: Once the neighbour is gone, the device is looked at so often, with this pause.
LOOKS, LOOK_SECONDS = 10, 0.3


async def run_beside_a_neighbour(device: str, scale: Scale, trials: Trials, deadline: Deadline) -> None:
    """One trial while another process computes on the device, and a look at the device once it is gone."""
    with _impatient(), _neighbour(device) as process:
        assert process.stdout is not None
        said = ""
        with anyio.move_on_after(deadline.seconds_left()):
            said = await anyio.to_thread.run_sync(process.stdout.readline, abandon_on_cancel=True)
        if not said:
            raise OutOfTime("the neighbour did not come to hold memory of the device")
        before = other_processes.query_usage(device)
        spec = specified(device, scale, "fp32", scale.models["mlp"])
        await trials.run("neighbour", spec, deadline)
    after = await _look_until_gone(device)
    trials.record.write(
        NeighbourLine(
            pid=process.pid,
            seen_before=before.processes if before else [],
            seen_after=after.processes if after else [],
        )
    )


async def _look_until_gone(device: str) -> other_processes.DeviceUsage | None:
    """The driver may list a process for a moment after its end."""
    for _ in range(LOOKS):
        seen = other_processes.query_usage(device)
        if seen is None or not seen.processes:
            break
        await anyio.sleep(LOOK_SECONDS)
    return seen


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
