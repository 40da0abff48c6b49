"""The fastest of several executions, of which there are few where each takes long."""

import torch

from worker.proof import timing
from worker.proof.timing import fastest_seconds

CPU = torch.device("cpu")


class Clock:
    """Stands still unless an operation takes its time."""

    def __init__(self, *seconds):
        self.now, self.left, self.executed = 0.0, list(seconds), 0

    def perf_counter(self):
        return self.now

    def operate(self):
        self.executed += 1
        self.now += self.left.pop(0)


def timed(monkeypatch, *seconds, **limits):
    clock = Clock(*seconds)
    monkeypatch.setattr(timing, "time", clock)
    return fastest_seconds(clock.operate, CPU, **limits), clock.executed


def test_the_fastest_of_all_executions_counts(monkeypatch):
    assert timed(monkeypatch, 0.004, 0.002, 0.001, 0.003, repeats=3) == (0.001, 4)


def test_what_takes_long_is_not_repeated(monkeypatch):
    assert timed(monkeypatch, 7.0, 1.0) == (7.0, 1)
    fastest, executed = timed(monkeypatch, *[0.25] * 9, repeats=8, max_total_seconds=0.75)
    assert (fastest, executed) == (0.25, 3)
