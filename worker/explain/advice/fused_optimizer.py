"""A fused optimizer, where one that is not takes much of a step."""

from halftime.contract.report.explanation import Advice
from halftime.contract.request.training import FUSED, TrainingConfig
from halftime.contract.resources.worker import DeviceCeilings
from worker.explain.advice.facts import ITEM_BYTES, Facts
from worker.explain.advice.requests import changed
from worker.explain.advice.words import milliseconds, percent


def fused_optimizer(facts: Facts) -> Advice | None:
    """Advises the fused step of an optimizer that has one.

    A fused step reads each weight, its gradient and its state once and writes all but the gradient once. At least, it
    moves these bytes at the rate at which the present one moves its own, which are more, because each of its operations
    reads and writes intermediate results. At most, it moves them at the memory's ceiling, and the host does not wait
    for the device where it did.
    """
    ceilings = facts.device.ceilings
    if facts.training.optimizer not in FUSED or facts.trial.fused_optimizer or ceilings is None or not ceilings.memory:
        return None
    split = facts.split
    seconds = split.seconds("optimizer")
    if not seconds:
        return None
    fused_bytes = values_moved(facts.training) * ITEM_BYTES[facts.precision.weights] * facts.trained_parameters
    floor = fused_bytes / bandwidth(ceilings, fused_bytes)
    moved_bytes = split.kinds["optimizer"].least_bytes
    at_same_rate = seconds * fused_bytes / moved_bytes if moved_bytes else seconds
    waits = split.seconds("host") if facts.trial.synchronisations and facts.device.kind == "cuda" else 0.0
    return Advice(
        name="fused_optimizer",
        text=f"Use the fused step of {facts.training.optimizer} (training.optimizer_implementation).",
        evidence=(
            f"the optimizer is not fused and takes {milliseconds(seconds)} ({percent(split.share_of(seconds))}) of a "
            f"step; its weights and state alone could be read and written in {milliseconds(floor)}."
        ),
        estimated_gain=split.gains(max(0.0, seconds - at_same_rate), max(0.0, seconds - floor) + waits),
        request=changed(facts.request, config__training__optimizer_implementation="fused"),
    )


def values_moved(training: TrainingConfig) -> int:
    """Numbers that a fused step reads and writes per weight: weight and state twice, and the gradient once.

    Adam and AdamW have two moments; SGD has one momentum, or none.
    """
    moments = 2 if training.optimizer in {"adam", "adamw"} else int(training.momentum > 0)
    return 2 * (1 + moments) + 1


def bandwidth(ceilings: DeviceCeilings, size_bytes: float) -> float:
    """The device's bandwidth for so many bytes: that of the smallest size measured that is as large, else the last."""
    larger = [one for one in ceilings.memory if one.size_bytes >= size_bytes]
    return (larger[0] if larger else ceilings.memory[-1]).bytes_per_second
