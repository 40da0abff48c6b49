"""Why a benchmark, a leg or a trial ended without a result."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from halftime.contract.strict import Output


class FailureCode(StrEnum):
    """Stable codes of failures for programs to branch on."""

    #: The benchmark requires CUDA and no CUDA device is available.
    CUDA_UNAVAILABLE = "cuda_unavailable"
    #: The device cannot run one of the precisions.
    UNSUPPORTED_PRECISION = "unsupported_precision"
    #: Training did not fit into the device's memory.
    OUT_OF_MEMORY = "out_of_memory"
    #: The loss became infinite or NaN.
    NONFINITE_LOSS = "nonfinite_loss"
    #: A leg's forward pass, backward pass, optimizer or validation raised an error.
    TRAINING_FAILED = "training_failed"
    #: The model could not be built, or not be trained as the baseline.
    INVALID_MODEL = "invalid_model"
    #: A requirement names a metric that the model's task does not have.
    UNKNOWN_METRIC = "unknown_metric"
    #: The data could not be loaded as requested.
    INVALID_DATA = "invalid_data"
    #: A trial or the whole run exceeded its time limit.
    TIMEOUT = "timeout"
    #: `time_budget_seconds` was used up before a leg had a result.
    TIME_BUDGET = "time_budget"
    #: No worker claimed the benchmark within `max_queue_seconds`.
    QUEUE_EXPIRED = "queue_expired"
    #: The worker disappeared in every allowed attempt.
    WORKER_LOST = "worker_lost"
    #: In the last allowed attempt, the worker's device failed its health checks.
    DEVICE_SICK = "device_sick"
    #: An error in Halftime itself; the logs have the traceback.
    INTERNAL = "internal"


#: A code of this release, or one that a newer server has added.
AnyFailureCode = Annotated[FailureCode | str, Field(union_mode="left_to_right")]

TITLES: dict[FailureCode, str] = {
    FailureCode.CUDA_UNAVAILABLE: "No CUDA device is available",
    FailureCode.UNSUPPORTED_PRECISION: "The device does not support a precision",
    FailureCode.OUT_OF_MEMORY: "Out of memory",
    FailureCode.NONFINITE_LOSS: "The loss is not finite",
    FailureCode.TRAINING_FAILED: "The leg could not be trained",
    FailureCode.INVALID_MODEL: "The model cannot be trained",
    FailureCode.UNKNOWN_METRIC: "A requirement is on an unknown metric",
    FailureCode.INVALID_DATA: "The data cannot be used",
    FailureCode.TIMEOUT: "Timed out",
    FailureCode.TIME_BUDGET: "The time budget was used up",
    FailureCode.QUEUE_EXPIRED: "Waited too long in the queue",
    FailureCode.WORKER_LOST: "The worker disappeared",
    FailureCode.DEVICE_SICK: "The device failed its health checks",
    FailureCode.INTERNAL: "Internal error",
}

#: Failures after which the same request may succeed.
RETRYABLE = frozenset(
    {
        FailureCode.QUEUE_EXPIRED,
        FailureCode.WORKER_LOST,
        FailureCode.TIMEOUT,
        FailureCode.DEVICE_SICK,
        FailureCode.INTERNAL,
    }
)


class Failure(Output):
    """A typed failure: its code, its meaning, and how to resolve it."""

    code: AnyFailureCode
    title: str
    detail: str
    retryable: bool

    @classmethod
    def of(cls, code: FailureCode, detail: str) -> "Failure":
        """Creates a failure with the title and the `retryable` flag of its code.

        The detail may contain a plugin's message: NUL and lone surrogates, which PostgreSQL refuses, are removed.
        """
        storable = detail.replace("\0", "").encode(errors="ignore").decode()
        return cls(code=code, title=TITLES[code], detail=storable, retryable=code in RETRYABLE)
