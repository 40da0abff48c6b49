"""Training in turns: a leg trains a few steps, then waits until the other legs of its block have had their turn."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from worker.messages import Turn
from worker.training.pace import Pace, Part


@dataclass(frozen=True)
class Wait:
    """What a process spent on waiting for a turn with measured steps."""

    seconds: float
    #: CPU time of all of the process's threads.
    cpu_seconds: float


class TurnTaker(Protocol):
    """Blocks until it is the leg's turn."""

    def next_turn(self, steps_done: int) -> Turn:
        """Hands over to another leg, whose turn may begin at once, and waits for the next turn of this one."""


class Turns:
    """The turns of one trial. A process that waits is blocked in a system call: it computes and launches nothing."""

    def __init__(self, taker: TurnTaker, pace: Pace) -> None:
        self._taker, self._pace = taker, pace
        #: Before each turn with measured steps, and their numbers.
        self.waits: list[Wait] = []
        self.measured_steps: list[int] = []
        #: Whether to validate after the last turn.
        self.validates = True

    def parts(self) -> Iterator[Part]:
        """Yields the steps of each turn, until a turn without steps ends training."""
        while True:
            began, cpu_began = time.perf_counter(), time.process_time()
            turn = self._taker.next_turn(self._pace.done)
            wait = Wait(time.perf_counter() - began, time.process_time() - cpu_began)
            self._pace.waited(wait.seconds)
            if not turn.steps:
                self.validates = turn.validates
                return
            first = self._pace.done
            yield Part(turn.is_measured, self._done_at(first + turn.steps))
            if turn.is_measured:
                self.waits.append(wait)
                self.measured_steps.append(self._pace.done - first)

    def _done_at(self, steps: int) -> Callable[[], bool]:
        return lambda: self._pace.done >= min(steps, self._pace.steps)
