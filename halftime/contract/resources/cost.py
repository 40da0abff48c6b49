"""What a request would cost, roughly, before it is sent."""

from pydantic import Field

from halftime.contract.precisions import DeviceKind
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.strict import Output


class Cost(Output):
    """A rough cost. What nothing is known of is null: no figure is made up."""

    #: Trials at least and at most, a control leg included; the stopping rule decides between the two.
    least_trials: int
    most_trials: int
    #: Forward and backward, of all training steps; null where only torch can count them.
    least_training_flops: float | None
    most_training_flops: float | None
    #: From the throughput of benchmarks that ended lately on such a device; for precisions without any, from the rates
    #: of matrix products that the workers online measured; null without either. Never more than `time_budget_seconds`.
    least_seconds: float | None
    most_seconds: float | None
    #: What the seconds are taken from, or why there are none.
    basis: str


class Preview(Output):
    """A request as it would run: every default filled in."""

    request: BenchmarkRequest
    #: null until a worker has counted what only torch can count.
    parameter_count: int | None
    #: Where it would run, by what the fleet has now.
    device: DeviceKind
    #: Live workers that could take it.
    workers_online: int
    cost: Cost
    #: Precisions that every device emulates, or lacks, on which it could run now; each with what to do.
    warnings: list[str] = Field(default=[])
