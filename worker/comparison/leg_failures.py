"""What a failed trial means for its benchmark: a leg without further trials, or the end."""

from halftime.contract.report.failure import Failure, FailureCode

#: Failures that end one leg; all others end the benchmark.
OF_A_LEG = frozenset(
    {
        FailureCode.OUT_OF_MEMORY,
        FailureCode.NONFINITE_LOSS,
        FailureCode.TIME_BUDGET,
        FailureCode.TRAINING_FAILED,
        FailureCode.INVALID_MODEL,
        FailureCode.UNSUPPORTED_PRECISION,
    }
)


class BenchmarkFailed(Exception):
    """The benchmark ends without a report; `failure` is the typed reason."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


def ends_benchmark(failure: Failure, is_baseline: bool) -> bool:
    """Whether no report is possible: candidates cannot be compared without a baseline.

    A baseline that runs out of memory leaves the candidates' figures, which are often the reason to ask.
    """
    if failure.code not in OF_A_LEG:
        return True
    return is_baseline and failure.code is not FailureCode.OUT_OF_MEMORY


def in_its_role(failure: Failure, is_baseline: bool) -> Failure:
    """The failure with the code that fits the leg: a model that fails in the baseline already is invalid.

    What fails in another leg alone is that leg's: the baseline trained the same model.
    """
    if is_baseline and failure.code is FailureCode.TRAINING_FAILED:
        return Failure.of(FailureCode.INVALID_MODEL, failure.detail)
    if not is_baseline and failure.code is FailureCode.INVALID_MODEL:
        return Failure.of(FailureCode.TRAINING_FAILED, failure.detail)
    return failure
