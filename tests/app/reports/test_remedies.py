"""What is said to be done about a failure."""

import pytest

from app.reports.text.remedies import remedy
from halftime.contract.report.failure import Failure, FailureCode


@pytest.mark.parametrize("code", FailureCode)
def test_every_code_has_a_remedy(code):
    assert remedy(Failure.of(code, "because"))


def test_a_loss_that_is_not_finite_has_the_remedy_of_its_cause_not_of_its_code():
    assert "learning rate" not in remedy(Failure.of(FailureCode.NONFINITE_LOSS, "the scale was too high"))


def test_a_code_of_a_newer_server_is_read_and_points_to_its_message():
    newer = {"code": "moon_phase", "title": "Wrong phase", "detail": "Wait a week.", "retryable": True}
    failure = Failure.model_validate(newer)
    assert (failure.code, failure.retryable) == ("moon_phase", True)
    assert remedy(failure) == "Follow the message above."
    known = Failure.model_validate(newer | {"code": "timeout"})
    assert known.code is FailureCode.TIMEOUT
