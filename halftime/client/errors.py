"""Everything that a call can end in, beside its answer.

ClientError
├── TransportError        no answer
│   ├── CannotConnect         nothing was sent
│   └── ConnectionLost        it may have been done
├── ProblemError          the server's refusal, with its problem document
├── UnexpectedAnswer      an answer that is none of this API's
├── BenchmarkFailed       a benchmark that ended without a report
└── WaitTimeout           a benchmark that did not end in time; it runs on unless it was to be cancelled
"""

from halftime.contract.report.failure import Failure
from halftime.contract.resources.benchmark import Benchmark
from halftime.contract.resources.problem import FieldError, Problem, ValidationProblem


class ClientError(Exception):
    """What every call may raise."""


class TransportError(ClientError):
    """The server did not answer, retries included."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CannotConnect(TransportError):
    """Nobody answers at the address: nothing was sent."""


class ConnectionLost(TransportError):
    """The connection broke, or the answer took too long: what was asked may have been done."""


class ProblemError(ClientError):
    """The server refused; `errors` has the place of each fault in what was sent."""

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
        """The end of the problem's type, for a program to branch on: `not_found`, `still_running`."""
        return self.problem.type.rsplit("/", maxsplit=1)[-1]


class UnexpectedAnswer(ClientError):
    """The answer is not what the contract says: another service, or a proxy, at this address."""


class BenchmarkFailed(ClientError):
    """The benchmark ended without a report; `failure` is null where it was cancelled."""

    def __init__(self, benchmark: Benchmark) -> None:
        failure = benchmark.failure
        why = f"{failure.title} ({failure.code}): {failure.detail}" if failure else f"It was {benchmark.status}."
        super().__init__(why)
        self.benchmark = benchmark
        self.failure: Failure | None = failure


class WaitTimeout(ClientError):
    """The benchmark, as it was seen last, had not ended in time."""

    def __init__(self, benchmark: Benchmark, timeout_seconds: float) -> None:
        super().__init__(f"{benchmark.id} was {benchmark.status} after {timeout_seconds:g} s.")
        self.benchmark = benchmark
