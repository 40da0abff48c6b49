"""The estimated cost of a request before it is submitted."""

from pydantic import Field

from halftime.contract.precisions import DeviceKind
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.strict import Output


class Cost(Output):
    """The estimated cost of a request. Unknown figures are null."""

    #: Smallest and largest number of trials, control leg included; the stopping rule decides between the two. Where the
    #: legs may take turns, one of each leg is the survey before the blocks. The largest number includes those that
    #: measure the gain of advice, if the request asks for it.
    least_trials: int
    most_trials: int
    #: FLOP of forward and backward in all training steps; null if only torch can count them.
    least_training_flops: float | None
    most_training_flops: float | None
    #: Estimated from the throughput of recent benchmarks on such a device; for precisions without any, from the rates
    #: of matrix products measured by the online workers; null without either. At most `time_budget_seconds`, and a half
    #: more to measure the gain of advice.
    least_seconds: float | None
    most_seconds: float | None
    #: Source of the estimated seconds, or the reason why there are none.
    basis: str


class Preview(Output):
    """A request as it would run, with every default filled in, and its estimated cost."""

    request: BenchmarkRequest
    #: null if only torch can count the parameters.
    parameter_count: int | None
    #: Kind of device it would run on, given the current workers.
    device: DeviceKind
    #: Live workers that can run it.
    workers_online: int
    cost: Cost
    #: Precisions that every suitable device emulates or lacks, each with a remedy.
    warnings: list[str] = Field(default=[])
