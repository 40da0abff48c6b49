"""The errors that the client raises.

ClientError
├── TransportError        no response
│   ├── CannotConnect         the request was not sent
│   └── ConnectionLost        the request may have been processed
├── ProblemError          the server refused the request, with a problem document
├── UnexpectedAnswer      the response is not one of Halftime's API
├── BenchmarkFailed       the benchmark ended without a report
└── WaitTimeout           the benchmark did not end in time; it continues unless it was to be cancelled
"""

from halftime.contract.report.failure import Failure
from halftime.contract.resources.benchmark import Benchmark
from halftime.contract.resources.problem import FieldError, Problem, ValidationProblem


class ClientError(Exception):
    """Base of all errors that the client raises."""


class TransportError(ClientError):
    """The server did not answer, even after the retries."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CannotConnect(TransportError):
    """No server answers at the address; the request was not sent."""


class ConnectionLost(TransportError):
    """The connection broke or the response took too long; the request may have been processed."""


class ProblemError(ClientError):
    """The server refused the request; `errors` has the location of each error in its body."""

    def __init__(self, problem: Problem, retry_after_seconds: float | None = None) -> None:
        self.errors: list[FieldError] = problem.errors if isinstance(problem, ValidationProblem) else []
        faults = [f"  {fault.loc}: {fault.msg}" for fault in self.errors]
        super().__init__("\n".join([f"{problem.title}: {problem.detail}", *faults]))
        self.problem = problem
        self.retry_after_seconds = retry_after_seconds

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def code(self) -> str:
        """The last part of the problem's type, for programs to branch on: `not_found`, `still_running`."""
        return self.problem.type.rsplit("/", maxsplit=1)[-1]


class UnexpectedAnswer(ClientError):
    """The response does not match the contract: another service or a proxy answers at this address."""


class BenchmarkFailed(ClientError):
    """The benchmark ended without a report; `failure` is None if it was cancelled."""

    def __init__(self, benchmark: Benchmark) -> None:
        failure = benchmark.failure
        super().__init__(
            f"{failure.title} ({failure.code}): {failure.detail}" if failure else f"It was {benchmark.status}."
        )
        self.benchmark = benchmark
        self.failure: Failure | None = failure


class WaitTimeout(ClientError):
    """The benchmark had not ended in time; `benchmark` is its last known state."""

    def __init__(self, benchmark: Benchmark, timeout_seconds: float) -> None:
        super().__init__(f"{benchmark.id} was {benchmark.status} after {timeout_seconds:g} s.")
        self.benchmark = benchmark
