"""Runs the stages in order, each within its share of the time; none can stop the others."""

import multiprocessing
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread

from halftime import __version__
from halftime.contract.report.failure import Failure
from testing.first_contact.ceilings import observe_ceilings, observe_workspaces
from testing.first_contact.facts import machine_facts, observe_device
from testing.first_contact.lines import Begun, Ended, Fact, StageEnded, StageOutcome
from testing.first_contact.load import observe_load
from testing.first_contact.neighbour import run_beside_a_neighbour
from testing.first_contact.probes import observe_probes
from testing.first_contact.processes import Observe, Observer, OutOfTime, run_in_fresh_process
from testing.first_contact.record import Record
from testing.first_contact.scale import Scale, scale_of
from testing.first_contact.switches import observe_switches
from testing.first_contact.timetable import Deadline, Timetable
from testing.first_contact.trials import Planned, Trials, edge_trials, usual_trials
from testing.first_contact.waits import observe_waits
from testing.first_contact.whole import run_comparison
from worker.agent.launcher import PRELOADED, TrialLauncher
from worker.messages import DeviceCheck

#: Minimum time for a stage; with less left it is skipped.
LEAST_SECONDS = 1.0


@dataclass(frozen=True)
class Contact:
    """One run on one device."""

    device: str
    scale: Scale
    record: Record
    timetable: Timetable
    launcher: TrialLauncher
    folder: Path

    def observer(self, stage: str, deadline: Deadline) -> Observer:
        """Context of a process that observes the device."""
        return Observer(stage, self.device, self.scale, self.record, deadline)

    def trials(self, stage: str) -> Trials:
        """Trials for a stage that runs some."""
        return Trials(stage, self.record, self.launcher)


#: Function that does a stage's work until the deadline and returns what its process wrote.
Work = Callable[[Contact, str, Deadline], Awaitable[str]]


@dataclass(frozen=True)
class Stage:
    """One stage of the run."""

    name: str
    #: Share of the budget; shares add up to one.
    share: float
    work: Work
    cuda_only: bool = False


def _observed(observe: Observe) -> Work:
    """Run an observation in a fresh process."""

    async def work(contact: Contact, stage: str, deadline: Deadline) -> str:
        return await run_in_fresh_process(observe, contact.observer(stage, deadline))

    return work


def _tried(plan: Callable[[str, Scale], "list[Planned]"]) -> Work:
    """Run trials one after the other."""

    async def work(contact: Contact, stage: str, deadline: Deadline) -> str:
        await contact.trials(stage).run_all(plan(contact.device, contact.scale), deadline)
        return ""

    return work


async def _note_facts(contact: Contact, stage: str, deadline: Deadline) -> str:
    for fact in await anyio.to_thread.run_sync(lambda: list(machine_facts(contact.device))):
        contact.record.write(fact)
    return await run_in_fresh_process(observe_device, contact.observer(stage, deadline))


async def _check_health(contact: Contact, stage: str, deadline: Deadline) -> str:
    health = await contact.launcher.check(DeviceCheck(device=contact.device), deadline.seconds_left())
    faults = [health.detail] if isinstance(health, Failure) else health.faults
    contact.record.write(Fact(name="faults of the device", value="; ".join(faults) or "none"))
    return ""


async def _compare(contact: Contact, stage: str, deadline: Deadline) -> str:
    await run_comparison(contact.device, contact.scale, contact.trials(stage), deadline, contact.folder)
    return ""


async def _observe_neighbour(contact: Contact, stage: str, deadline: Deadline) -> str:
    await run_beside_a_neighbour(contact.device, contact.scale, contact.trials(stage), deadline)
    return ""


STAGES = (
    Stage("facts", 0.05, _note_facts),
    Stage("health", 0.04, _check_health),
    Stage("switches", 0.02, _observed(observe_switches)),
    Stage("probes", 0.08, _observed(observe_probes)),
    Stage("ceilings", 0.05, _observed(observe_ceilings)),
    Stage("workspaces", 0.02, _observed(observe_workspaces), cuda_only=True),
    Stage("waits", 0.06, _observed(observe_waits)),
    Stage("load", 0.04, _observed(observe_load)),
    Stage("trials", 0.22, _tried(lambda device, scale: list(usual_trials(device, scale)))),
    Stage("comparison", 0.22, _compare),
    Stage("edges", 0.15, _tried(lambda device, scale: list(edge_trials(device, scale)))),
    Stage("neighbour", 0.05, _observe_neighbour),
)


async def run(device: str, budget_seconds: float, folder: Path, record: Record) -> None:
    """Run every stage for which there is time."""
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    record.write(Begun(device=device, budget_seconds=budget_seconds, started_at=started_at, halftime=__version__))
    launcher = TrialLauncher()
    multiprocessing.get_context("forkserver").set_forkserver_preload([*PRELOADED, __name__])
    share = 0.0
    try:
        await launcher.warm_up()
        now = time.monotonic()
        timetable = Timetable(now, budget_seconds - (now - record.began))  # loading torch counts towards the budget
        contact = Contact(device, scale_of(device), record, timetable, launcher, folder)
        for stage in STAGES:
            share += stage.share
            await _run(stage, contact, timetable.end_of(share))
    finally:
        with anyio.CancelScope(shield=True):
            await launcher.close()
    record.write(Ended(seconds=time.monotonic() - record.began))


async def _run(stage: Stage, contact: Contact, deadline: Deadline) -> None:
    """Run one stage and record its outcome."""
    began = time.monotonic()
    outcome: StageOutcome
    detail = logs = ""
    if stage.cuda_only and contact.device == "cpu":
        outcome, detail = "skipped", "it needs a CUDA device"
    elif deadline.seconds_left() < LEAST_SECONDS:
        outcome, detail = "skipped", "no time was left for it"
    else:
        outcome, detail, logs = await _outcome(stage, contact, deadline)
    ended = StageEnded(name=stage.name, outcome=outcome, seconds=time.monotonic() - began, detail=detail, logs=logs)
    contact.record.write(ended)
    print(f"{time.monotonic() - contact.record.began:6.1f} s  {stage.name}: {outcome}", file=sys.stderr, flush=True)


async def _outcome(stage: Stage, contact: Contact, deadline: Deadline) -> tuple[StageOutcome, str, str]:
    try:
        return "done", "", await stage.work(contact, stage.name, deadline)
    except OutOfTime as error:
        return "cut", str(error), ""
    except Exception:  # the other stages can still run
        return "crashed", traceback.format_exc(), ""
