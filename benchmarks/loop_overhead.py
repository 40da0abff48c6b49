"""Overhead of the harness: step time in our loop over that of the same steps in a bare hand-written loop.

A bare loop, ours, ours as a leg that trains in turns, and another bare loop take turns within one process, a few steps
each, in every order equally often: interference on a shared machine changes from second to second and should affect all
of them alike. Each has its own copy of the same model. The first step of a turn, which picks up, is left out, as in
reports; how much it differs is a figure of its own. The ratio of the two bare loops is what this machine reports for
identical work.
"""

import copy
import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from greenlet import getcurrent, greenlet
from torch import nn
from torch.nn import functional

from halftime.contract.models import TransformerSpec
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.pairs import hodges_lehmann
from halftime.contract.report.report import Estimate
from halftime.contract.report.slices import PICK_UP_STEPS
from halftime.contract.request.data import SyntheticData
from halftime.contract.request.training import TrainingConfig
from worker.comparison.estimates import ratio_estimate
from worker.comparison.turns import LEAST_SLICE_STEPS
from worker.data import Batch, ResidentFeed, make_data
from worker.device.measured_region import MeasuredRegion
from worker.messages import Turn
from worker.models import blueprint_of
from worker.training.clock import StepClock, make_clock
from worker.training.loop import Curves, LoopHooks, prepare, train
from worker.training.pace import Pace, Part
from worker.training.precision import PRECISIONS, set_flags
from worker.training.turns import Turns

MODEL = TransformerSpec(vocab_size=64, hidden_size=256, num_layers=2, num_heads=4, sequence_length=128)

#: Steps of one turn: a GPU needs several, so that the host runs ahead of it as in training.
TURN_STEPS = {"cpu": LEAST_SLICE_STEPS, "cuda": 10}

#: Rounds whose ratios count once: every order of four loops.
ROUNDS_IN_GROUP = math.factorial(4)
GROUPS = 10
WARMUP_STEPS = 10


def settings(device: torch.device) -> TrainingConfig:
    """Training settings with as many steps as the turns need."""
    steps = WARMUP_STEPS + GROUPS * ROUNDS_IN_GROUP * TURN_STEPS[device.type]
    return TrainingConfig(batch_size=16, steps=steps, warmup_steps=WARMUP_STEPS)


@dataclass(frozen=True)
class Work:
    """What a loop trains and how: it times every step after the warm-up, and pauses after it and after every turn."""

    model: nn.Module
    precision: PrecisionName
    #: Where the model and the batches are.
    device: torch.device
    batches: list[Batch]
    clock: StepClock
    #: Returns when the loop has its next turn.
    pause: Callable[[], object]

    def after_step(self, step: int) -> None:
        """Pauses where a turn ends, with the device idle; for a loop that knows of no turns."""
        measured = step - WARMUP_STEPS
        if measured >= 0 and measured % TURN_STEPS[self.device.type] == 0:
            self.clock.synchronise()
            self.pause()
            self.clock.start()


def bare_loop(work: Work) -> None:
    """A hand-written loop: the same autocast, scaler, clipping, fused AdamW and cosine schedule."""
    model, batches, device = work.model, work.batches, work.device
    config, meaning = settings(device), PRECISIONS[work.precision]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    scaler = torch.amp.GradScaler(device.type, enabled=meaning.uses_grad_scaler)
    amp = meaning.autocast_dtype is not None
    for index in range(config.steps):
        inputs, targets = batches[index % len(batches)]
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=meaning.autocast_dtype, enabled=amp):
            loss = functional.cross_entropy(model(inputs).flatten(0, -2), targets.flatten())
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        if index >= WARMUP_STEPS:
            work.clock.mark()
        work.after_step(index + 1)


def our_loop(work: Work) -> None:
    """The product's loop as in a whole trial, with all its recording and telemetry."""
    pace = Pace(settings(work.device))
    _train(work, pace, pace.parts(), MeasuredRegion(work.device), work.after_step)


def our_loop_in_turns(work: Work) -> None:
    """The product's loop as in a block whose legs take turns."""
    pace = Pace(settings(work.device))
    turns = Turns(_TurnTaker(work), pace)
    _train(work, pace, turns.parts(), MeasuredRegion(work.device, with_children=False), lambda step: None)


class _TurnTaker:
    """Gives the warm-up at once; before every later turn, the other loops have theirs."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def next_turn(self, steps_done: int) -> Turn:
        """Pauses, and returns the next turn of this loop."""
        if not steps_done:
            return Turn(steps=WARMUP_STEPS, is_measured=False)
        self._work.pause()
        return Turn(steps=TURN_STEPS[self._work.device.type])


def _train(
    work: Work, pace: Pace, parts: Iterable[Part], region: MeasuredRegion, after_step: Callable[[int], None]
) -> None:
    config = settings(work.device)
    run = prepare(work.model, blueprint_of(MODEL).task, PRECISIONS[work.precision], config, work.device)
    with region:
        hooks = LoopHooks(lambda: None, region.resume, region.pause, after_step)
        curves = Curves.empty(config.steps, work.device)
        train(run, ResidentFeed(work.batches), work.clock, curves, hooks, pace, parts)


def measure() -> dict[str, object]:
    """Ratios with 95 % intervals, per precision."""
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    precisions: list[PrecisionName] = ["fp32", "bf16", "fp16"] if device.type == "cuda" else ["fp32", "bf16"]
    return {
        "model": MODEL.model_dump(),
        "training": settings(device).model_dump(),
        "turn_steps": TURN_STEPS[device.type],
        "precisions": {precision: _compare(precision, device) for precision in precisions},
    }


def _compare(precision: PrecisionName, device: torch.device) -> dict[str, object]:
    set_flags(PRECISIONS[precision])
    torch.manual_seed(0)
    original = blueprint_of(MODEL).build().to(device)
    batches = (
        make_data(blueprint_of(MODEL).task, SyntheticData(), TrainingConfig(batch_size=16, steps=20), 0)
        .to(device)
        .training
    )
    loops = [
        _TakingTurns(train_in, copy.deepcopy(original), precision, device, batches)
        for train_in in (bare_loop, our_loop, our_loop_in_turns, bare_loop)
    ]
    for order in GROUPS * [*itertools.permutations(loops)]:
        for loop in order:
            loop.take_turn()
    bare, ours, in_turns, again = (loop.compared_step_seconds() for loop in loops)
    mean_bare = [math.sqrt(one * other) for one, other in zip(bare, again, strict=True)]
    return {
        "bare_step_seconds": statistics.median(bare),
        "ours_over_bare": _ratio(ours, mean_bare).model_dump(),
        "ours_in_turns_over_bare": _ratio(in_turns, mean_bare).model_dump(),
        "bare_over_bare": _ratio(bare, again).model_dump(),
        "pick_up_ratio": {
            name: _ratio(loop.pick_up_seconds(), loop.compared_step_seconds()).model_dump()
            for name, loop in zip(("bare", "ours", "ours_in_turns"), loops, strict=False)
        },
    }


def _ratio(numerators: list[float], denominators: list[float]) -> Estimate:
    """The ratio of the times of the same rounds: as of a block's pairs in each group, then as over blocks."""
    logs = [math.log(above / below) for above, below in zip(numerators, denominators, strict=True)]
    groups = [logs[first : first + ROUNDS_IN_GROUP] for first in range(0, len(logs), ROUNDS_IN_GROUP)]
    return ratio_estimate([hodges_lehmann(group) for group in groups], GROUPS)


class _TakingTurns:
    """A loop that runs one turn at a time. A greenlet keeps its state: in threads, each loop would have its own OpenMP
    threads, which would compete for the cores.
    """

    def __init__(
        self,
        loop: Callable[[Work], None],
        model: nn.Module,
        precision: PrecisionName,
        device: torch.device,
        batches: list[Batch],
    ) -> None:
        self._turn_steps = TURN_STEPS[device.type]
        self._clock = make_clock(device, settings(device).steps)
        work = Work(model, precision, device, batches, self._clock, pause=getcurrent().switch)
        self._greenlet = greenlet(lambda: loop(work))
        self.take_turn()  # the warm-up

    def take_turn(self) -> None:
        """Runs the steps of one turn."""
        self._greenlet.switch()

    def compared_step_seconds(self) -> list[float]:
        """Median seconds of a step in each turn, without the one that picks up."""
        return [statistics.median(seconds[PICK_UP_STEPS:]) for seconds in self._turns()]

    def pick_up_seconds(self) -> list[float]:
        """Seconds of the first step of each turn."""
        return [seconds[0] for seconds in self._turns()]

    def _turns(self) -> Iterator[list[float]]:
        """The step times of each turn."""
        seconds = self._clock.step_seconds()
        for first in range(0, len(seconds), self._turn_steps):
            yield seconds[first : first + self._turn_steps]
