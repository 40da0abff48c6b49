"""The errors of an invalid request, each with its location in the body."""

import math
from collections.abc import Sequence
from typing import Any

from halftime.contract.resources.problem import FieldError


def field_errors(faults: Sequence[Any], body: object) -> list[FieldError]:
    """Converts pydantic's errors to field errors with locations in the client's body."""
    return [
        FieldError(loc=_pointer(fault["loc"], body), msg=_clean(_message(fault)), type=fault["type"])
        for fault in faults
    ]


def _message(fault: dict[str, Any]) -> str:
    """Returns the error message without the input, which pydantic quotes for an unknown tag of a union."""
    if fault["type"] == "union_tag_invalid":
        return f"{fault['ctx']['discriminator']} must be one of {fault['ctx']['expected_tags']}"
    return _notation(fault) or str(fault["msg"])


#: Integers up to this size are exact in a float, and short enough for a message.
LARGEST_EXACT = 2**53


def _notation(fault: dict[str, Any]) -> str | None:
    """Returns how to write a number that is right but in the wrong notation, such as 1e2; None for another error."""
    number = _number(fault["input"]) if fault["type"] in {"int_type", "float_type"} else None
    if number is None:
        return None
    is_text = isinstance(fault["input"], str)
    if fault["type"] == "float_type":
        return f"must be a number, written without quotes: {number}" if is_text else None
    if not number.is_integer() or abs(number) > LARGEST_EXACT:
        return None
    return f"must be an integer, written without {'quotes' if is_text else 'a decimal point or exponent'}: {number:.0f}"


def _number(value: object) -> float | None:
    """Returns the finite number that a value is or, as text, denotes; None if there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


#: Fields that are mappings, whose keys are chosen by clients.
NAMED_BY_CLIENTS = {"labels"}


def _pointer(loc: tuple[int | str, ...], body: object) -> str:
    """Returns a JSON pointer (RFC 6901) into the body; `query`, `path` and `header` stay as a first step.

    Steps that pydantic adds and that are not in the body are removed: the selected member of a union, and the mark
    for a mapping's keys.
    """
    steps: list[int | str] = []
    here, member = body, None
    for step in loc[1:] if loc and loc[0] == "body" else loc:
        if step == "[key]":
            continue
        if step == member:
            member = None  # removed once: a field may have the same name
            continue
        steps.append(step)
        here = _below(here, step)
        member = None if step in NAMED_BY_CLIENTS else _member(here)
    return "".join("/" + _clean(str(step)).replace("~", "~0").replace("/", "~1") for step in steps)


def _below(value: object, step: int | str) -> object:
    """Returns the value at a step of parsed JSON; None if there is none."""
    if isinstance(value, dict):
        return value.get(step)
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None


def _member(value: object) -> object:
    """Returns an object's tag, which pydantic adds as a step: `kind` of a model, `type` of a layer."""
    return value.get("kind", value.get("type")) if isinstance(value, dict) else None


def _clean(text: str) -> str:
    """Replaces what UTF-8 cannot encode and truncates to 200 characters: field names come from the client."""
    return text[:200].encode("utf-8", "replace").decode("utf-8")
