"""The number of a model's outputs, where every task has a field of its own for it."""

from collections.abc import Mapping

from pydantic import BaseModel, ValidationInfo

from halftime.contract.strict import ACCEPTED, fault_at

#: By the task, the field that says how many outputs a model has.
COUNTED_BY = {"classification": "num_classes", "regression": "num_targets", "causal-lm": "vocab_size"}

#: Fields that another task uses.
COUNTS = ("num_classes", "num_targets")


def require_used_counts(spec: BaseModel, task: str) -> None:
    """Raises ValidationError at a field that the task does not use, unless it has its default, which is no choice."""
    for field in COUNTS:
        if field != COUNTED_BY[task] and getattr(spec, field) != type(spec).model_fields[field].default:
            reason = f"{task} does not use {field}; its number of outputs is {COUNTED_BY[task]}"
            raise fault_at((field,), "not_of_this_task", reason)


def without_unused_count(body: object, info: ValidationInfo) -> object:
    """A stored model without the field that its task does not use, which earlier releases ignored."""
    if info.context is not ACCEPTED or not isinstance(body, Mapping):
        return body
    used = COUNTED_BY.get(body.get("task", "classification"))
    return {field: value for field, value in body.items() if field not in COUNTS or field == used}
