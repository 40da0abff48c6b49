"""Why a benchmark, a leg or a trial ended without a result."""

from enum import StrEnum

from halftime.contract.strict import Output


class FailureCode(StrEnum):
    """What went wrong, for a program to branch on."""

    #: The job asks for CUDA and there is none.
    CUDA_UNAVAILABLE = "cuda_unavailable"
    #: The device cannot run one of the precisions.
    UNSUPPORTED_PRECISION = "unsupported_precision"
    #: Training did not fit into the device's memory.
    OUT_OF_MEMORY = "out_of_memory"
    #: The loss stopped being a number.
    NONFINITE_LOSS = "nonfinite_loss"
    #: The model could not be built or trained as asked.
    INVALID_MODEL = "invalid_model"
    #: The data could not be had as asked.
    INVALID_DATA = "invalid_data"
    #: A trial or the whole run took longer than allowed.
    TIMEOUT = "timeout"
    #: `time_budget_seconds` ended before a leg had a figure.
    TIME_BUDGET = "time_budget"
    #: No worker took the job within `max_queue_seconds`.
    QUEUE_EXPIRED = "queue_expired"
    #: The worker vanished in every allowed attempt.
    WORKER_LOST = "worker_lost"
    #: In the last allowed attempt the worker's device was found sick.
    DEVICE_SICK = "device_sick"
    #: A fault of Halftime's own; the logs have the traceback.
    INTERNAL = "internal"


TITLES: dict[FailureCode, str] = {
    FailureCode.CUDA_UNAVAILABLE: "No CUDA device is available",
    FailureCode.UNSUPPORTED_PRECISION: "The device does not support a precision",
    FailureCode.OUT_OF_MEMORY: "Out of memory",
    FailureCode.NONFINITE_LOSS: "The loss is not finite",
    FailureCode.INVALID_MODEL: "The model cannot be trained",
    FailureCode.INVALID_DATA: "The data cannot be used",
    FailureCode.TIMEOUT: "Timed out",
    FailureCode.TIME_BUDGET: "The time budget ended first",
    FailureCode.QUEUE_EXPIRED: "Waited too long in the queue",
    FailureCode.WORKER_LOST: "The worker was lost",
    FailureCode.DEVICE_SICK: "The device is sick",
    FailureCode.INTERNAL: "Internal error",
}

#: Worth posting again unchanged: the next run may go better.
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
    """A typed failure: a code, what it means, and what to do about it."""

    code: FailureCode
    title: str
    detail: str
    retryable: bool

    @classmethod
    def of(cls, code: FailureCode, detail: str) -> "Failure":
        """A failure with the title and the retry advice of its code.

        The detail may hold whatever a plugin said; NUL and lone surrogates, which no database takes, are left out.
        """
        storable = detail.replace("\0", "").encode(errors="ignore").decode()
        return cls(code=code, title=TITLES[code], detail=storable, retryable=code in RETRYABLE)
