"""Who is held to account when trials that take turns end together."""

import anyio
import pytest

from halftime.contract.report.failure import Failure, FailureCode
from worker.agent.conductor import conduct
from worker.messages import BlockTurns, LegTurns

pytestmark = pytest.mark.anyio


class MadeUpProcess:
    """Waits for each turn, until one of them hangs; ends at its deadline, some time after that of the others."""

    def __init__(self, hangs_in_turn=None, late_seconds=0.0):
        self._hangs_in_turn, self._late_seconds = hangs_in_turn, late_seconds
        self._turns, self._waiting = 0, anyio.Event()
        self._waiting.set()
        self._ended = anyio.Event()

    async def run(self, deadline_seconds):
        try:
            with anyio.move_on_after(deadline_seconds + self._late_seconds):
                await anyio.sleep_forever()
            return Failure.of(FailureCode.TIMEOUT, "took too long")
        finally:
            self._ended.set()
            self._waiting.set()

    async def is_waiting(self):
        await self._waiting.wait()
        return not self._ended.is_set()

    def give(self, turn):
        self._turns += 1
        if self._turns == self._hangs_in_turn:
            self._waiting = anyio.Event()


@pytest.mark.parametrize("late_seconds", [0.0, 0.05])
@pytest.mark.parametrize("hangs", [0, 1])
@pytest.mark.parametrize("turn", [2, 3])
async def test_the_leg_that_hangs_in_its_turn_is_the_one_that_timed_out(hangs, turn, late_seconds):
    processes = [MadeUpProcess(turn if leg == hangs else None, late_seconds * (leg != hangs)) for leg in range(2)]
    turns = BlockTurns((LegTurns(2, (5,) * 8), LegTurns(2, (5,) * 8)), 1.0, 0.1)
    with anyio.fail_after(20):
        outcomes = await conduct(processes, turns, 0, float("inf"), 0.3)
    assert outcomes[1 - hangs] is None
    assert outcomes[hangs].code == "timeout"
