"""The ceiling of matrix products, measured once in a process of tests instead of after every trial."""

from functools import cache

import pytest

from worker.proof.ceiling import measure_ceiling
from worker.trial import examination


@cache
def _measured(precision, device):
    return measure_ceiling(precision, device)


@pytest.fixture(autouse=True)
def ceiling_is_measured_once(monkeypatch):
    """Of what a trial does after its training, this takes longest, and few tests are about it."""
    monkeypatch.setattr(examination, "measure_ceiling", lambda precision, device, _: _measured(precision, device))
