"""Does the harness slow what it measures? Step time in our loop over the same steps in a bare hand-written loop.

Each round runs the bare loop, ours, and the bare loop again, in alternating order, on copies of the same model; the
ratio of the two bare loops beside it says what this machine reports for identical work.
"""

import copy
import math
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from app.contract.models import TransformerSpec
from app.contract.precisions import PrecisionName
from app.contract.request import TrainingConfig
from worker.clock import make_clock
from worker.data import Batch, make_data
from worker.models import build_model
from worker.precision import PRECISIONS, set_flags
from worker.statistics import ratio_estimate
from worker.telemetry.region import MeasuredRegion
from worker.training import Curves, LoopHooks, prepare, train

ROUNDS = 24
SETTINGS = TrainingConfig(batch_size=16, steps=13, warmup_steps=3)
MODEL = TransformerSpec(vocab_size=64, hidden_size=256, num_layers=2, num_heads=4, sequence_length=128)


def bare_loop(model: nn.Module, precision: PrecisionName, batches: list[Batch], device: torch.device) -> float:
    """Seconds per step, as one writes it by hand: the same autocast, scaler, clipping, fused AdamW and cosine."""
    meaning = PRECISIONS[precision]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=SETTINGS.learning_rate, weight_decay=SETTINGS.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, SETTINGS.steps)
    scaler = torch.amp.GradScaler(device.type, enabled=meaning.uses_grad_scaler)
    amp = meaning.autocast_dtype is not None
    for index, (inputs, targets) in enumerate(batches):
        if index == SETTINGS.warmup_steps:
            _wait(device)
            began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=meaning.autocast_dtype, enabled=amp):
            loss = functional.cross_entropy(model(inputs).flatten(0, -2), targets.flatten())
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), SETTINGS.max_grad_norm)
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
    _wait(device)
    return (time.perf_counter() - began) / (SETTINGS.steps - SETTINGS.warmup_steps)


def our_loop(model: nn.Module, precision: PrecisionName, batches: list[Batch], device: torch.device) -> float:
    """Seconds per step of the product's loop, all its recording and the telemetry on."""
    run = prepare(model, PRECISIONS[precision], SETTINGS, device)
    clock = make_clock(device, SETTINGS.steps - SETTINGS.warmup_steps + 1)
    curves = Curves.empty(SETTINGS.steps, device)
    with MeasuredRegion(device) as region:
        timing = train(run, batches, clock, curves, LoopHooks(lambda: None, region.start, lambda step: None))
        region.stop()
    return timing.measured_wall_seconds / (SETTINGS.steps - SETTINGS.warmup_steps)


def measure() -> dict[str, object]:
    """Ratios with 95 % intervals, per precision."""
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    precisions: list[PrecisionName] = ["fp32", "bf16", "fp16"] if device.type == "cuda" else ["fp32", "bf16"]
    return {
        "model": MODEL.model_dump(),
        "training": SETTINGS.model_dump(),
        "rounds": ROUNDS,
        "precisions": {precision: _compare(precision, device) for precision in precisions},
    }


def _compare(precision: PrecisionName, device: torch.device) -> dict[str, object]:
    set_flags(PRECISIONS[precision])
    torch.manual_seed(0)
    original = build_model(MODEL).to(device)
    batches = make_data(MODEL, SETTINGS, 0).to(device).training
    loops: list[Callable[..., float]] = [bare_loop, our_loop, bare_loop]
    times: list[list[float]] = [[], [], []]
    for round_number in range(ROUNDS + 1):
        order = [0, 1, 2] if round_number % 2 else [2, 1, 0]
        for index in order:
            seconds = loops[index](copy.deepcopy(original), precision, batches, device)
            if round_number:  # the first round warms the process up
                times[index].append(seconds)
    bare, ours, again = times
    mean_bare = [math.sqrt(one * other) for one, other in zip(bare, again, strict=True)]
    return {
        "bare_step_seconds": sorted(bare)[len(bare) // 2],
        "ours_over_bare": ratio_estimate(ours, mean_bare, ROUNDS).model_dump(),
        "bare_over_bare": ratio_estimate(bare, again, ROUNDS).model_dump(),
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
