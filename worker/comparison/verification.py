"""Measures what advice is worth: a candidate as it is against the candidate with the change, in a few short blocks.

The candidate with the change is first trained alone, which shows whether it runs, how long its step takes and whether
both fit on the device together. Then both take turns in each block, or are trained one after the other where turns
would be unfair. A leg is compiled once, and its later trials load what was made: the gain is of the steps that follow.
"""

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence

import anyio

from halftime.contract.precisions import PrecisionName
from halftime.contract.report.explanation import Advice
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.trial import TrialResult
from halftime.contract.report.verification import MOST_VERIFIED, VERIFICATION_BLOCKS, VERIFICATION_TIME_SHARE
from halftime.contract.request.request import BenchmarkRequest, stored_request
from halftime.contract.request.training import TrainingConfig
from halftime.contract.resources.benchmark import Progress
from worker.comparison.block_order import order_of_block
from worker.comparison.blocks import TrialRunner
from worker.comparison.blocks_in_turns import TurnsRunner, why_unfair
from worker.comparison.comparison_run import (
    PART_OF_PROGRESS,
    ComparisonRun,
    LegRun,
    VerifiedGain,
    applied_share,
    log_ratios,
    median_step,
    paired,
)
from worker.comparison.disturbance import flag_disturbed_slices
from worker.comparison.estimates import ratio_estimate
from worker.comparison.time_budget import LEAST_BLOCKS, time_limit
from worker.comparison.turns import plan_turns, why_no_room, why_trials
from worker.device.compiler_caches import shared_cache
from worker.messages import BlockTurns, OutcomeInTurns, TimeLimit, TrialSpec

#: Aimed duration of the measured steps of a trial, and the fewest, if the request has so many.
MEASURED_SECONDS, LEAST_STEPS = 3.0, 20

#: Failures that only say that the time was over.
OUT_OF_TIME = frozenset({FailureCode.TIME_BUDGET, FailureCode.TIMEOUT})

NO_TIME = VerifiedGain(None, "Not measured: the time for it, a share of time_budget_seconds, was over.")
ALL_SKIPPED = VerifiedGain(None, "Not measured: the gradient scaler skipped every measured step.")
ENDED_BY_AN_ERROR = VerifiedGain(None, "Not measured: an error in Halftime ended the measurement.")


async def verify_advice(
    comparison: ComparisonRun,
    advice: Mapping[str, Sequence[Advice]],
    run_trial: TrialRunner,
    run_turns: TurnsRunner,
    on_progress: Callable[[Progress], None],
) -> None:
    """Sets `verified` of every candidate; `advice` is by the candidate's name.

    Ends within a share of the time budget and within the benchmark's timeout; the pieces of advice share the time.
    """
    began, config = time.monotonic(), comparison.request.config
    pieces = [(leg, one) for leg in comparison.candidates for one in measurable(advice.get(leg.name, []))]
    for leg, one in pieces:
        leg.verified[one.name] = ENDED_BY_AN_ERROR
    seconds = VERIFICATION_TIME_SHARE * config.measurement.time_budget_seconds
    ends = began + min(seconds, config.timeout_seconds - comparison.total_seconds)
    try:
        for index, (leg, one) in enumerate(pieces):
            left_seconds = (ends - time.monotonic()) / (len(pieces) - index)
            report = functools.partial(_report, comparison, on_progress, len(pieces), index)
            verification = _Verification(comparison, leg, one, run_trial, run_turns, report)
            leg.verified[one.name] = await verification.run(left_seconds)
    finally:
        comparison.total_seconds += time.monotonic() - began


def measurable(advice: Sequence[Advice]) -> list[Advice]:
    """The first pieces of advice that change something."""
    return [one for one in advice if one.request is not None][:MOST_VERIFIED]


class _Verification:
    """The measurement of one piece of advice."""

    def __init__(
        self,
        comparison: ComparisonRun,
        leg: LegRun,
        advice: Advice,
        run_trial: TrialRunner,
        run_turns: TurnsRunner,
        on_progress: Callable[[str, float], None],
    ) -> None:
        """`on_progress` is told what is measured, and the share that is done."""
        assert advice.request is not None
        self._comparison, self._on_progress = comparison, on_progress
        self._run_trial, self._run_turns = run_trial, run_turns
        request = stored_request(advice.request)
        changed = changed_precision(comparison, leg, request)
        #: The leg as it is, whose trials of the comparison are known, and the one with the change.
        self._known = leg.measured_alone[0]
        self._as_it_is = LegRun(leg.name, leg.precision)
        self._changed = LegRun(f"{changed} with {advice.name}", changed)
        self._requests = {self._as_it_is.name: comparison.request, self._changed.name: request}
        self._legs = [self._as_it_is, self._changed]
        self._blocks = 0
        self._ends = math.inf
        self._compile_cache: str | None = None

    async def run(self, seconds: float) -> VerifiedGain:
        """Measures for at most so many seconds."""
        self._ends = time.monotonic() + seconds
        failure = None
        with shared_cache() as self._compile_cache, anyio.move_on_after(max(0.0, seconds)):
            failure = await self._measure()
        if failure is None or failure.code in OUT_OF_TIME or self._blocks >= LEAST_BLOCKS:
            return self._result()
        return VerifiedGain(None, f"Not measured: {failure.title[0].lower()}{failure.title[1:]}. {failure.detail}")

    async def _measure(self) -> Failure | None:
        """Runs the trial alone and the blocks; returns what made that impossible."""
        self._on_progress(self._changed.name, 0)
        if self._left_seconds <= 0:
            return None
        alone = await self._run_alone(self._changed, later=LEAST_BLOCKS)
        if isinstance(alone, Failure):
            return alone
        turns = await self._turns(alone)
        while self._blocks < VERIFICATION_BLOCKS:
            began = time.monotonic()
            self._on_progress(self._changed.name, (1 + self._blocks) / (1 + VERIFICATION_BLOCKS))
            outcomes = await self._block_in_turns(turns) if turns else await self._block_of_trials()
            failure = next((one for one in outcomes if isinstance(one, Failure)), None)
            if turns and why_unfair(self._legs, outcomes) is not None:
                turns = self._compile_cache = None  # a process that was killed may have left half of a library
                self._discard_blocks()
                continue
            if failure is not None or None in outcomes:
                return failure
            self._add_block(outcomes)
            if self._blocks >= LEAST_BLOCKS and self._left_seconds < time.monotonic() - began:
                break
        return None

    async def _turns(self, alone: TrialResult) -> BlockTurns | None:
        """How both legs take turns; None if they cannot."""
        device, training = self._comparison.device, self._training(self._changed)
        surveys = [self._known, alone]
        if await why_trials(self._requests[self._changed.name], device) or why_no_room(surveys, device):
            return None
        seconds = self._left_seconds / VERIFICATION_BLOCKS
        return plan_turns(surveys, training.steps, training.warmup_steps, seconds, self._left_seconds / LEAST_BLOCKS)

    async def _block_in_turns(self, turns: BlockTurns) -> list[OutcomeInTurns]:
        limit = time_limit(self._left_seconds, [], [None] * self._required_blocks)
        specs = [self._spec(leg, position, limit) for position, leg in enumerate(self._legs)]
        return await self._run_turns(specs, turns, self._deadline_seconds, lambda spec, step: None)

    async def _block_of_trials(self) -> list[OutcomeInTurns]:
        """Runs a whole trial of each leg; the leg as it is is the first in half of the blocks."""
        outcomes: dict[str, TrialResult | Failure] = {}
        order = order_of_block(self._legs, self._blocks)
        for position, leg in enumerate(order):
            others = len(order) - 1 - position
            outcome = await self._run_alone(leg, others + len(order) * self._required_blocks, position)
            outcomes[leg.name] = outcome
            if isinstance(outcome, Failure):
                break
        return [outcomes.get(leg.name) for leg in self._legs]

    async def _run_alone(self, leg: LegRun, later: int, position: int = 0) -> TrialResult | Failure:
        """Runs a whole trial; `later` ones share the time left."""
        limit = time_limit(self._left_seconds, [], [None] * later)
        return await self._run_trial(self._spec(leg, position, limit), self._deadline_seconds, lambda step: None)

    def _discard_blocks(self) -> None:
        """Discards the blocks so far: an interval is either over blocks in turns or over whole trials."""
        self._blocks = 0
        for leg in self._legs:
            leg.trials.clear()

    def _add_block(self, outcomes: Sequence[OutcomeInTurns]) -> None:
        for leg, outcome in zip(self._legs, outcomes, strict=True):
            assert isinstance(outcome, TrialResult)
            leg.trials.append(outcome)
        if all(leg.trials[-1].slices for leg in self._legs):
            flag_disturbed_slices(self._legs)
        self._blocks += 1

    def _result(self) -> VerifiedGain:
        """The gain from the blocks so far."""
        pairs = paired(self._as_it_is, self._changed)
        sizes = [math.log(self._training(leg).batch_size) for leg in self._legs]
        logs = [
            step + sizes[1] - sizes[0] + math.log(applied_share(changed) / applied_share(as_it_is))
            for step, (as_it_is, changed) in zip(log_ratios(pairs), pairs, strict=True)
            if applied_share(changed) and applied_share(as_it_is)
        ]
        if len(logs) >= LEAST_BLOCKS:
            return VerifiedGain(ratio_estimate(logs, len(logs)))
        if logs:
            once = f"Measured once, before the time was over: {math.exp(logs[0]):.2f}, without an interval."
            return VerifiedGain(None, once)
        return ALL_SKIPPED if pairs else NO_TIME

    def _spec(self, leg: LegRun, position: int, limit: TimeLimit) -> TrialSpec:
        request = self._requests[leg.name]
        return TrialSpec(
            device=self._comparison.device.name,
            precision=leg.precision,
            leg_name=leg.name,
            block=self._blocks,
            position=position,
            model=request.model,
            training=self._training(leg),
            data=request.config.data,
            adapters=request.config.adapters,
            parameter_count=self._comparison.parameter_count,
            phase="verify",
            compile_cache=self._compile_cache,
            limit=limit,
        )

    def _training(self, leg: LegRun) -> TrainingConfig:
        """The settings of a leg, with so few steps that they take about `MEASURED_SECONDS`."""
        training = self._requests[leg.name].config.training
        measured = max(LEAST_STEPS, round(MEASURED_SECONDS / median_step(self._known)))
        steps = min(training.steps, training.warmup_steps + measured)
        return training.model_copy(update={"steps": steps, "schedule_warmup_steps": 0, "validation_samples": 1})

    @property
    def _left_seconds(self) -> float:
        return self._ends - time.monotonic()

    @property
    def _deadline_seconds(self) -> float:
        return self._comparison.request.config.timeout_seconds

    @property
    def _required_blocks(self) -> int:
        """Number of blocks that an interval needs after the current one."""
        return max(0, LEAST_BLOCKS - self._blocks - 1)


def changed_precision(comparison: ComparisonRun, leg: LegRun, changed: BenchmarkRequest) -> PrecisionName:
    """The precision of the leg with the change: the one that the changed request adds, else the leg's own."""
    kind = comparison.device.kind
    before, after = (one.config.resolved_candidates(kind) for one in (comparison.request, changed))
    return next((precision for precision in after if precision not in before), leg.precision)


def _report(
    comparison: ComparisonRun,
    on_progress: Callable[[Progress], None],
    pieces: int,
    done: int,
    name: str,
    share: float,
) -> None:
    """Tells the progress when `share` of the piece after `done` of `pieces` is measured."""
    on_progress(
        Progress(
            phase="verify",
            block=comparison.blocks,
            max_blocks=comparison.blocks,
            leg=name,
            step=0,
            total_steps=0,
            fraction=round(1 - PART_OF_PROGRESS * (1 - (done + share) / pieces), 4),
            eta_seconds=None,
        )
    )
