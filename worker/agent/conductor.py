"""Gives the trials of a block their turns: at any moment one of them trains, and the others sleep."""

import time
from collections.abc import Sequence

import anyio

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.slices import LEAST_ROUNDS
from halftime.contract.report.trial import TrialResult
from worker.agent.child_process import ChildProcess, Killed
from worker.comparison.turns import order_of_round
from worker.messages import BlockTurns, OutcomeInTurns, Turn


class Conductor:
    """Conducts one block. Its processes are those of the legs, the baseline's first."""

    def __init__(self, processes: Sequence[ChildProcess], turns: BlockTurns, block: int, ends: float) -> None:
        """`ends`: monotonic time by which the last trial should have ended."""
        self._processes, self._turns = processes, turns
        self._block, self._ends = block, ends
        #: Indexes of the legs that train.
        self.alive = set(range(len(processes)))
        #: Index of the first leg that ended during its own turn; null if none did.
        self.stuck: int | None = None

    async def conduct(self) -> bool:
        """Conducts until training ends; False if a leg is missing, so that no pair of legs is left to compare."""
        for leg in range(len(self._processes)):  # they build their models side by side
            await self._until_waiting(leg)
        for leg in order_of_round(len(self._processes), self._block, 0):
            await self._turn(leg, Turn(steps=self._turns.legs[leg].warmup_steps, is_measured=False))
        for round_index in range(self._turns.rounds):
            began = time.monotonic()
            await self._round(round_index)
            if not self._can_compare():
                return False
            if not self._has_time_for(round_index + 1, time.monotonic() - began):
                break
        for leg in self.alive:
            self._processes[leg].give(Turn(steps=0, validates=self._reached_the_end(leg)))
        return True

    async def _round(self, index: int) -> None:
        """Gives every leg that has a slice in the round its turn."""
        for leg in order_of_round(len(self._processes), self._block, index):
            slices = self._turns.legs[leg].slices
            if index < len(slices):
                await self._turn(leg, Turn(steps=slices[index]))

    async def _turn(self, leg: int, turn: Turn) -> None:
        if leg in self.alive and turn.steps:
            self._processes[leg].give(turn)
            await self._until_waiting(leg)
            if leg not in self.alive and self.stuck is None:
                self.stuck = leg

    async def _until_waiting(self, leg: int) -> None:
        if not await self._processes[leg].is_waiting():
            self.alive.discard(leg)

    def _can_compare(self) -> bool:
        return 0 in self.alive and len(self.alive) > 1

    def _has_time_for(self, next_round: int, seconds: float) -> bool:
        """Whether a round as long as the last one fits; the first rounds, without which a block is void, are run."""
        return next_round < LEAST_ROUNDS or (time.monotonic() + seconds + self._turns.ending_seconds <= self._ends)

    def _reached_the_end(self, leg: int) -> bool:
        """Whether the plan does not end the leg earlier than others."""
        return self._turns.legs[leg].steps == max(of_leg.steps for of_leg in self._turns.legs)


async def conduct(
    processes: Sequence[ChildProcess], turns: BlockTurns, block: int, ends: float, deadline_seconds: float
) -> list[OutcomeInTurns | Killed]:
    """Runs the processes of a block side by side, in turns, and returns the outcome of each.

    None for a process that was given up because of another, or stood still while another did not end in time.
    """
    outcomes: list[OutcomeInTurns | Killed] = [None] * len(processes)
    scopes = [anyio.CancelScope() for _ in processes]
    conductor = Conductor(processes, turns, block, ends)

    async def run(index: int) -> None:
        with scopes[index]:
            outcome = await processes[index].run(deadline_seconds)
            assert isinstance(outcome, TrialResult | Failure | Killed)
            outcomes[index] = outcome

    async with anyio.create_task_group() as tasks:
        for index in range(len(processes)):
            tasks.start_soon(run, index)
        if not await conductor.conduct():
            for leg in conductor.alive:
                scopes[leg].cancel()  # they sleep: none of them is the one that hangs
    return [
        None if _has_timed_out(outcome) and conductor.stuck not in {None, index} else outcome
        for index, outcome in enumerate(outcomes)
    ]


def _has_timed_out(outcome: OutcomeInTurns | Killed) -> bool:
    return isinstance(outcome, Failure) and outcome.code is FailureCode.TIMEOUT
