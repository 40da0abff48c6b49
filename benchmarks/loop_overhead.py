"""Overhead of the harness: step time in our loop over that of the same steps in a bare hand-written loop.

A bare loop, ours, and another bare loop take turns within one process, a few steps each, in every order equally often:
interference on a shared machine changes from second to second and should affect all of them alike. Each has its own
copy of the same model. The ratio of the two bare loops is what this machine reports for identical work.
"""

import copy
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from greenlet import getcurrent, greenlet
from torch import nn
from torch.nn import functional

from halftime.contract.models import TransformerSpec
from halftime.contract.precisions import PrecisionName
from halftime.contract.request.data import SyntheticData
from halftime.contract.request.training import TrainingConfig
from worker.comparison.estimates import ratio_estimate
from worker.data import Batch, ResidentFeed, make_data
from worker.device.measured_region import MeasuredRegion
from worker.models import blueprint_of
from worker.training.clock import make_clock
from worker.training.loop import Curves, LoopHooks, prepare, train
from worker.training.precision import PRECISIONS, set_flags

MODEL = TransformerSpec(vocab_size=64, hidden_size=256, num_layers=2, num_heads=4, sequence_length=128)

#: Steps of one turn: a GPU needs several, so that the host runs ahead of it as in training.
TURN_STEPS = {"cpu": 1, "cuda": 10}

#: Turns whose median counts once: every order of three loops, twice.
TURNS_IN_GROUP = 12
GROUPS = 40
WARMUP_STEPS = 10

AfterStep = Callable[[int], None]


def settings(device: torch.device) -> TrainingConfig:
    """Training settings with as many steps as the turns need."""
    steps = WARMUP_STEPS + GROUPS * TURNS_IN_GROUP * TURN_STEPS[device.type]
    return TrainingConfig(batch_size=16, steps=steps, warmup_steps=WARMUP_STEPS)


def bare_loop(
    model: nn.Module, precision: PrecisionName, batches: list[Batch], device: torch.device, after_step: AfterStep
) -> None:
    """A hand-written loop: the same autocast, scaler, clipping, fused AdamW and cosine schedule."""
    config, meaning = settings(device), PRECISIONS[precision]
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
        after_step(index + 1)


def our_loop(
    model: nn.Module, precision: PrecisionName, batches: list[Batch], device: torch.device, after_step: AfterStep
) -> None:
    """The product's loop, with all its recording and telemetry."""
    config = settings(device)
    run = prepare(model, blueprint_of(MODEL).task, PRECISIONS[precision], config, device)
    clock = make_clock(device, config.steps)
    with MeasuredRegion(device) as region:
        hooks = LoopHooks(lambda: None, region.resume, region.pause, after_step)
        train(run, ResidentFeed(batches), clock, Curves.empty(config.steps, device), hooks)
        region.stop()


def measure() -> dict[str, object]:
    """Ratios with 95 % intervals, per precision."""
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    precisions: list[PrecisionName] = ["fp32", "bf16", "fp16"] if device.type == "cuda" else ["fp32", "bf16"]
    return {
        "model": MODEL.model_dump(),
        "training": settings(device).model_dump(),
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
        _Loop(loop, copy.deepcopy(original), precision, batches, device) for loop in (bare_loop, our_loop, bare_loop)
    ]
    for order in _orders():
        for index in order:
            loops[index].take_turn()
    bare, ours, again = ([*loop.group_medians()] for loop in loops)
    mean_bare = [(one * other) ** 0.5 for one, other in zip(bare, again, strict=True)]
    return {
        "bare_step_seconds": statistics.median(bare),
        "ours_over_bare": ratio_estimate(_log_ratios(ours, mean_bare), GROUPS).model_dump(),
        "bare_over_bare": ratio_estimate(_log_ratios(bare, again), GROUPS).model_dump(),
    }


def _log_ratios(numerators: list[float], denominators: list[float]) -> list[float]:
    return [math.log(above / below) for above, below in zip(numerators, denominators, strict=True)]


def _orders() -> Iterator[tuple[int, ...]]:
    permutations = itertools.cycle(itertools.permutations(range(3)))
    return itertools.islice(permutations, GROUPS * TURNS_IN_GROUP)


class _Loop:
    """A loop that pauses after every turn. A greenlet keeps its state: in threads, each loop would have its own OpenMP
    threads, which would compete for the cores.
    """

    def __init__(
        self,
        loop: Callable[..., None],
        model: nn.Module,
        precision: PrecisionName,
        batches: list[Batch],
        device: torch.device,
    ) -> None:
        self._device, self._turn_steps = device, TURN_STEPS[device.type]
        self._seconds: list[float] = []
        self._caller: greenlet = getcurrent()
        self._greenlet = greenlet(lambda: loop(model, precision, batches, device, self._after_step))
        self._greenlet.switch()  # runs to the end of the warm-up

    def take_turn(self) -> None:
        """Run the steps of one turn; the time between the switches counts."""
        _wait(self._device)
        self._began = time.perf_counter()
        self._greenlet.switch()

    def group_medians(self) -> Iterator[float]:
        """Median seconds per step of each group of turns."""
        for first in range(0, len(self._seconds), TURNS_IN_GROUP):
            yield statistics.median(self._seconds[first : first + TURNS_IN_GROUP]) / self._turn_steps

    def _after_step(self, step: int) -> None:
        measured = step - WARMUP_STEPS
        if measured < 0 or measured % self._turn_steps:
            return
        _wait(self._device)
        if measured:
            self._seconds.append(time.perf_counter() - self._began)
        self._caller.switch()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
