"""The exception that ends a trial with a typed failure."""

from halftime.contract.report.failure import Failure, FailureCode


class TrialFailed(Exception):
    """A trial cannot continue; `failure` is the typed reason."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure

    @classmethod
    def because(cls, code: FailureCode, detail: str) -> "TrialFailed":
        """Builds the exception from a failure code and a detail."""
        return cls(Failure.of(code, detail))
