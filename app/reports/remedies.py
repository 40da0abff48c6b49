"""What to do about a benchmark that ended without a report."""

from halftime.contract.report.failure import Failure, FailureCode

REMEDIES: dict[FailureCode, str] = {
    FailureCode.CUDA_UNAVAILABLE: "Start a worker on a CUDA node, or ask for device `auto`.",
    FailureCode.UNSUPPORTED_PRECISION: "Drop the precision from `candidates`, or ask for a GPU that has it.",
    FailureCode.OUT_OF_MEMORY: "Make the batch or the model smaller, or ask for a GPU with more memory.",
    FailureCode.NONFINITE_LOSS: "Lower the learning rate: the baseline's training broke down.",
    FailureCode.INVALID_MODEL: "Change the model: what is wrong with it stands above.",
    FailureCode.INVALID_DATA: "Change `config.data`: what is wrong with it stands above.",
    FailureCode.TIMEOUT: "Raise `timeout_seconds`, or make the benchmark smaller.",
    FailureCode.TIME_BUDGET: "Raise `measurement.time_budget_seconds`, or make the benchmark smaller.",
    FailureCode.QUEUE_EXPIRED: "See whether a worker is online, or raise `max_queue_seconds`, and run it again.",
    FailureCode.WORKER_LOST: "See the worker's log for why it vanished, and run it again.",
    FailureCode.DEVICE_SICK: "See `halftime workers` for what is wrong with the device, and run it again elsewhere.",
    FailureCode.INTERNAL: "A fault of Halftime's own: its logs have the traceback.",
}


def remedy(failure: Failure) -> str:
    """What to do about it, in a sentence."""
    return REMEDIES[failure.code]
