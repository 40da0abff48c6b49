"""Whether the legs of a block can take turns, and how: from what the survey, each leg alone on the device, measured."""

import math
import statistics
from collections.abc import Sequence

import anyio
import anyio.to_thread

from halftime.contract.report.slices import LEAST_ROUNDS, PICK_UP_STEPS, TurnsPlan
from halftime.contract.report.trial import TrialResult
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.worker import WorkerDevice
from worker.comparison.block_order import baseline_first
from worker.device import nvml
from worker.device.host_counters import available_host_bytes
from worker.messages import BlockTurns, LegTurns

#: Limit for the driver's reply: that of a faulty GPU may hang.
ANSWER_SECONDS = 30.0

#: Aimed duration of a slice: the machine changes over seconds, and handing over takes about a millisecond.
SLICE_SECONDS = 0.25

#: How long every thread of OpenMP may spin at the start of a wait before it sleeps: in the step in which the other leg
#: picks up, which does not count. GNU's spins 300,000 times by default (GCC libgomp manual, GOMP_SPINCOUNT).
SPIN_SECONDS = 0.01

#: Fewest steps of a slice of full length, so that at most a quarter of them picks up.
LEAST_SLICE_STEPS = 4 * PICK_UP_STEPS

#: Most rounds of a block: more pairs would add nothing to its figure, but handing over would take time.
MOST_ROUNDS = 100

#: Share of the device's memory that all legs together may take up.
MEMORY_SHARE = 0.9

#: A leg whose step takes so many times the shortest may end early if time is short: the others would wait for it.
SLOW_FACTOR = 10

#: Slices of such a leg, and its warm-up, or that of all legs if time is very short.
SLOW_SLICE_STEPS, SHORT_WARMUP_STEPS = PICK_UP_STEPS + 1, 2


def order_of_round(legs: int, block: int, round_index: int) -> list[int]:
    """Returns the indexes of the legs in the order of a round: ABBA BAAB, and the reverse in every other block.

    The baseline is the first in half of the rounds and the last in the others, so that a linear drift cancels.
    """
    forwards = baseline_first(round_index) == (block % 2 == 0)
    return list(range(legs)) if forwards else list(reversed(range(legs)))


async def why_trials(request: BenchmarkRequest, device: WorkerDevice) -> str | None:
    """Why whole trials are run, as far as it shows before the survey; None if the legs may be able to take turns."""
    why = request.config.why_trials()
    if why is None and await _allows_one_process(device.name):
        return "the GPU's compute mode allows one process at a time"
    return why


async def _allows_one_process(device: str) -> bool:
    """Whether the GPU's compute mode refuses a second process; False if the driver does not say in time."""
    with anyio.move_on_after(ANSWER_SECONDS):
        return await anyio.to_thread.run_sync(nvml.allows_one_process, device, abandon_on_cancel=True)
    return False


def why_no_room(surveys: Sequence[TrialResult], device: WorkerDevice) -> str | None:
    """Why the legs cannot be on the device together; None if they fit."""
    occupied = [survey.occupied_bytes for survey in surveys]
    if device.kind == "cpu":
        free_bytes = available_host_bytes()
    else:
        gpu = surveys[0].telemetry.gpu
        held_before_bytes = gpu.held_before_bytes if gpu else None
        free_bytes = device.memory_bytes and device.memory_bytes - (held_before_bytes or 0)
    if free_bytes is None or None in occupied:
        return "it is unknown whether the legs fit on the device together"
    needed_bytes = sum(bytes_ for bytes_ in occupied if bytes_ is not None)
    if needed_bytes > MEMORY_SHARE * free_bytes:
        return (
            f"the legs need {needed_bytes / 2**30:.1f} GiB together, more than {MEMORY_SHARE:.0%} of the "
            f"{free_bytes / 2**30:.1f} GiB that are free"
        )
    return None


def plan_turns(
    surveys: Sequence[TrialResult], steps: int, warmup_steps: int, fits: float = math.inf, least_fits: float = math.inf
) -> BlockTurns:
    """Plans the turns of a block; `steps` and `warmup_steps` are the request's.

    `fits` is the seconds that it may take, `least_fits` those in which at least its first rounds have to end. Legs take
    equal slices of equal numbers of steps. If such blocks do not fit, legs that are many times slower than the fastest
    end early; if not even the first rounds do, all have a short warm-up.
    """
    slow_from = SLOW_FACTOR * min(map(_step_seconds, surveys))
    legs = _legs(surveys, steps, warmup_steps, slow_from=math.inf)
    if _seconds(legs, surveys) > fits:
        legs = _legs(surveys, steps, warmup_steps, slow_from)
    if _seconds([_first_rounds(leg) for leg in legs], surveys) > least_fits:
        legs = _legs(surveys, steps, min(warmup_steps, SHORT_WARMUP_STEPS), slow_from)
    return BlockTurns(tuple(legs), _seconds(legs, surveys), sum(map(_ending_seconds, surveys)))


def turns_of(trials: Sequence[TrialResult], surveys: Sequence[TrialResult]) -> BlockTurns:
    """Returns the turns that the legs took in earlier blocks, of which `trials` are the longest of each leg."""
    legs = [LegTurns(one.slices[0].first_step, tuple(of.steps for of in one.slices)) for one in trials]
    return BlockTurns(tuple(legs), _seconds(legs, surveys), sum(map(_ending_seconds, surveys)))


def _first_rounds(leg: LegTurns) -> LegTurns:
    return LegTurns(leg.warmup_steps, leg.slices[:LEAST_ROUNDS])


def _legs(surveys: Sequence[TrialResult], steps: int, warmup_steps: int, slow_from: float) -> list[LegTurns]:
    """Returns the turns of every leg; one whose step takes longer than `slow_from` seconds ends early."""
    step_seconds = [_step_seconds(survey) for survey in surveys]
    mean_seconds = statistics.fmean(seconds for seconds in step_seconds if seconds <= slow_from)
    whole = LegTurns(warmup_steps, slices_of(steps - warmup_steps, mean_seconds))
    short = LegTurns(min(warmup_steps, SHORT_WARMUP_STEPS), (SLOW_SLICE_STEPS,) * LEAST_ROUNDS)
    return [short if seconds > slow_from and short.steps < whole.steps else whole for seconds in step_seconds]


def slices_of(measured_steps: int, step_seconds: float) -> tuple[int, ...]:
    """Divides the measured steps into an even number of slices, as equal as possible, of about `SLICE_SECONDS`."""
    wanted = max(LEAST_SLICE_STEPS, round(SLICE_SECONDS / step_seconds))
    rounds = min(MOST_ROUNDS, max(LEAST_ROUNDS, measured_steps // wanted // 2 * 2))
    shortest, longer = divmod(measured_steps, rounds)
    return (shortest + 1,) * longer + (shortest,) * (rounds - longer)


def describe(turns: BlockTurns, surveys: Sequence[TrialResult]) -> TurnsPlan:
    """The plan as the report states it."""
    slices = max((leg.slices for leg in turns.legs), key=len)
    in_all_rounds = [one for one, leg in zip(surveys, turns.legs, strict=True) if len(leg.slices) == turns.rounds]
    seconds = statistics.fmean(map(_step_seconds, in_all_rounds))
    return TurnsPlan(
        slice_steps=slices[-1],
        pick_up_steps=PICK_UP_STEPS,
        rounds=turns.rounds,
        slice_seconds=slices[-1] * seconds,
        reason=(
            f"A step takes {1000 * seconds:.3g} ms on average over the legs. A slice is to last about "
            f"{SLICE_SECONDS:g} s, so that the machine changes little between neighbours, or longer to have at least "
            f"{LEAST_SLICE_STEPS} steps, so that the one in which a leg picks up again is a small part; and there are "
            f"at least {LEAST_ROUNDS} slices of each leg in a block."
        ),
    )


def _step_seconds(survey: TrialResult) -> float:
    assert survey.median_step_seconds is not None
    return survey.median_step_seconds


def _seconds(legs: Sequence[LegTurns], surveys: Sequence[TrialResult]) -> float:
    """Expected duration of a block: processes start and end side by side, and train one at a time."""
    training = [_training_seconds(leg, survey) for leg, survey in zip(legs, surveys, strict=True)]
    return sum(training) + sum(map(_ending_seconds, surveys))


def _training_seconds(leg: LegTurns, survey: TrialResult) -> float:
    """Expected duration of a leg's steps: as in the survey, one-time costs such as compilation included."""
    once_seconds = survey.training_time_seconds - len(survey.loss_curve) * _step_seconds(survey)
    return max(0.0, once_seconds) + leg.steps * _step_seconds(survey)


def _ending_seconds(survey: TrialResult) -> float:
    """Duration of what a trial does besides training and examinations: it builds the model and validates."""
    return max(0.0, survey.trial_seconds - survey.training_time_seconds - survey.proof_seconds)
