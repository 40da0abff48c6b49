"""Remedies for benchmarks that ended without a report."""

from halftime.contract.report.failure import Failure, FailureCode

REMEDIES: dict[str, str] = {
    FailureCode.CUDA_UNAVAILABLE: "Start a worker on a CUDA node, or request device `auto`.",
    FailureCode.UNSUPPORTED_PRECISION: "Remove the precision from `candidates`, or request a GPU that supports it.",
    FailureCode.OUT_OF_MEMORY: "Use a smaller batch or model, or request a GPU with more memory.",
    FailureCode.NONFINITE_LOSS: "Correct the settings or the data as the message above says.",
    FailureCode.TRAINING_FAILED: "Correct the model, or remove the precision, as the message above says.",
    FailureCode.INVALID_MODEL: "Correct `model` as the message above says.",
    FailureCode.UNKNOWN_METRIC: "Correct `requirements` as the message above says.",
    FailureCode.INVALID_DATA: "Correct `config.data` as the message above says.",
    FailureCode.TIMEOUT: "Increase `timeout_seconds`, or make the benchmark smaller.",
    FailureCode.TIME_BUDGET: "Increase `measurement.time_budget_seconds`, or make the benchmark smaller.",
    FailureCode.QUEUE_EXPIRED: "Check that a worker is online, or increase `max_queue_seconds`; then run it again.",
    FailureCode.WORKER_LOST: "Check the worker's log for the reason, then run the benchmark again.",
    FailureCode.DEVICE_SICK: "Check the reason in `halftime workers`, then run the benchmark on another device.",
    FailureCode.INTERNAL: "This is a bug in Halftime: its logs contain the traceback.",
}


def remedy(failure: Failure) -> str:
    """Returns what to do about a failure, in one sentence."""
    return REMEDIES.get(failure.code, "Follow the message above.")
