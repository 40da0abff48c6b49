"""The faults of a request, each with its place in what was written."""

from collections.abc import Sequence
from typing import Any

from halftime.contract.resources.problem import FieldError


def field_errors(faults: Sequence[Any], body: object) -> list[FieldError]:
    """The faults that pydantic found in a body, each with its place in what the client wrote."""
    return [
        FieldError(loc=_pointer(fault["loc"], body), msg=_clean(_message(fault)), type=fault["type"])
        for fault in faults
    ]


def _message(fault: dict[str, Any]) -> str:
    """What is wrong, without the input: pydantic quotes it for an unknown tag of a union."""
    if fault["type"] == "union_tag_invalid":
        return f"{fault['ctx']['discriminator']} must be one of {fault['ctx']['expected_tags']}"
    return str(fault["msg"])


#: Mappings, whose keys are no fields.
NAMED_BY_CLIENTS = {"labels"}


def _pointer(loc: tuple[int | str, ...], body: object) -> str:
    """A JSON pointer (RFC 6901) into the body; `query`, `path` and `header` stay as a first step.

    Pydantic adds steps that are not in the body: the chosen member of a union, and a mark for a mapping's keys.
    """
    steps: list[int | str] = []
    here, member = body, None
    for step in loc[1:] if loc and loc[0] == "body" else loc:
        if step == "[key]":
            continue
        if step == member:
            member = None  # once: a field may have the same name
            continue
        steps.append(step)
        here = _below(here, step)
        member = None if step in NAMED_BY_CLIENTS else _member(here)
    return "".join("/" + _clean(str(step)).replace("~", "~0").replace("/", "~1") for step in steps)


def _below(value: object, step: int | str) -> object:
    """What is one step down in parsed JSON; None where there is nothing."""
    if isinstance(value, dict):
        return value.get(step)
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None


def _member(value: object) -> object:
    """What an object says it is, which is the step that pydantic adds: a model by `kind`, a layer by `type`."""
    return value.get("kind", value.get("type")) if isinstance(value, dict) else None


def _clean(text: str) -> str:
    """Text that UTF-8 can carry, cut to a length worth reading: field names come from the client."""
    return text[:200].encode("utf-8", "replace").decode("utf-8")
