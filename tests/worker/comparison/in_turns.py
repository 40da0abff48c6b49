"""Made-up trials of legs that take turns, on a machine and with faults of one's choice."""

import itertools

from halftime.contract.report.slices import Slice
from tests.factories import trial
from worker.comparison.turns import order_of_round

#: A leg's time for a step, in seconds.
STEP_SECONDS = {"fp32": 0.02, "bf16": 0.01}

MIB = 2**20


def survey(spec, step_seconds=None, **changes):
    """The trial of a leg alone on the device."""
    seconds = (step_seconds or STEP_SECONDS)[spec.precision]
    peak_bytes = 1000 if spec.precision == "fp32" else 550
    figures = {"peak_bytes": peak_bytes, "occupied_bytes": 100 * MIB, "trial_seconds": 1.0}
    return trial(spec, step_seconds=seconds, **figures | changes)


def turned(specs, turns, machine=lambda seconds: 1.0, leg_factor=lambda spec: 1.0, step_seconds=None, **changes):
    """Trials of a block whose legs took their turns; `machine(seconds)` is how much slower it was at that time."""
    now = 0.0
    slices = {spec.leg: [] for spec in specs}
    times = {spec.leg: [] for spec in specs}
    for index in range(turns.rounds):
        for position in order_of_round(len(specs), specs[0].block, index):
            spec, legs = specs[position], turns.legs[position]
            if index >= len(legs.slices):
                continue
            began = now
            for _ in range(legs.slices[index]):
                seconds = (step_seconds or STEP_SECONDS)[spec.precision] * machine(now) * leg_factor(spec)
                times[spec.leg].append(seconds)
                now += seconds
            first = legs.warmup_steps + sum(one.steps for one in slices[spec.leg])
            slices[spec.leg].append(slice_of(first, legs.slices[index], began, now))
    return [
        _trial(spec, legs, times[spec.leg], slices[spec.leg], **changes)
        for spec, legs in zip(specs, turns.legs, strict=True)
    ]


def slice_of(first_step, steps, began, ended, **changes):
    """A slice of a quiet machine, whose kernel says of no thread how long it waited."""
    quiet = {
        "first_step": first_step,
        "steps": steps,
        "pick_up_steps": 1,
        "began_seconds": began,
        "ended_seconds": ended,
        "waited_seconds": 0.1,
        "waiting_cpu_seconds": 0.0,
        "own_cpu_seconds": ended - began,
        "foreign_cpu_seconds": 0.0,
    }
    return Slice.model_validate(quiet | changes)


def _trial(spec, legs, times, slices, **changes):
    steps = legs.steps
    early = steps < spec.training.steps
    figures = {
        "step_seconds": times,
        "slices": slices,
        "loss_curve": [1.0] * steps,
        "gradient_norms": [1.0] * steps,
        "measured_wall_seconds": sum(times),
        "memory": None,
        "numerics": None,
        "ceiling_flops_per_second": None,
        "least_flops_per_step": None,
        "ended_early": early,
    }
    if early:
        figures |= {"validation_loss": None, "validation_accuracy": None, "validation_share": 0.0}
    whole = trial(spec, **changes)
    figures["attestation"] = whole.attestation.model_copy(update={"forward_dtypes": {}})
    return whole.model_copy(update=figures)


def with_load(of_block, slices):
    """Other programs keep cores busy during the first slices."""
    busy = {"foreign_cpu_seconds": 99_000.0, "ended_seconds": 99.0}
    loaded = [one.model_copy(update=busy if index < slices else {}) for index, one in enumerate(of_block[0].slices)]
    return [of_block[0].model_copy(update={"slices": loaded}), *of_block[1:]]


class Machine:
    """Runs surveys, whole trials and blocks in turns; remembers what it was asked for."""

    def __init__(self, survey=survey, turned=turned, trial=survey):
        self._survey, self._turned, self._trial = survey, turned, trial
        self.specs, self.blocks, self.progress = [], [], []

    async def run_trial(self, spec, deadline_seconds, after_step):
        assert deadline_seconds > 0
        self.specs.append(spec)
        after_step(spec.training.steps)
        return (self._survey if spec.phase == "survey" else self._trial)(spec)

    async def run_turns(self, specs, turns, deadline_seconds, after_step):
        assert deadline_seconds > 0
        self.blocks.append((specs, turns))
        for spec, steps in itertools.product(specs, (0, specs[0].training.steps)):
            after_step(spec, steps)
        return self._turned(specs, turns)
