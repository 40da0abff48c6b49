"""The profiler's delay is measured with operations of their own."""

import pytest
import torch

from worker.explain import profiler_delay
from worker.explain.profiler_delay import OPERATIONS, operation_delay_seconds


def test_the_delay_is_what_the_profiler_adds_to_an_operation(monkeypatch):
    seconds = iter([0.002, 0.003, 0.001])
    monkeypatch.setattr(profiler_delay, "fastest_seconds", lambda *_: next(seconds))
    assert operation_delay_seconds() == pytest.approx(0.002 / OPERATIONS)


def test_a_machine_that_became_faster_has_no_negative_delay(monkeypatch):
    seconds = iter([0.003, 0.001, 0.002])
    monkeypatch.setattr(profiler_delay, "fastest_seconds", lambda *_: next(seconds))
    assert operation_delay_seconds() == 0


def test_one_of_the_two_times_is_taken_under_the_profiler(monkeypatch):
    monkeypatch.setattr(profiler_delay, "fastest_seconds", lambda *_: float(torch.autograd._profiler_enabled()))
    assert operation_delay_seconds() == 1 / OPERATIONS
