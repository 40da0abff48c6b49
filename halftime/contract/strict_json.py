"""Reads JSON text without the choices that RFC 8259 leaves to parsers: repeated names, and NaN and infinities."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn


class InvalidJson(ValueError):
    """Text that is not JSON; the message says where and why."""


class AmbiguousJson(Exception):
    """Text that parsers read differently; the message continues a sentence that begins with the text's source."""


class _Repeating(dict[str, Any]):
    """An object that sets some of its names more than once."""

    names: list[str]


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401 # any JSON value
    """Returns the value of JSON text. Raises InvalidJson, and AmbiguousJson for repeated names, NaN and infinities."""
    value = _load(text, _refuse_constant)
    require_unique(_pointers(value))
    return value


def repeated_names(text: str | bytes) -> list[str]:
    """Returns JSON pointers (RFC 6901) to the names that an object of the text sets again. Raises InvalidJson."""
    return list(_pointers(_load(text, float)))


def require_unique(pointers: Iterable[str]) -> None:
    """Raises AmbiguousJson if there is a pointer to a repeated name."""
    repeated = list(pointers)
    if repeated:
        raise AmbiguousJson(f"sets {', '.join(repeated)} more than once; keep one of them")


def repeated_in(names: Iterable[str]) -> list[str]:
    """Returns the names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def pointer_below(place: str, step: str | int) -> str:
    """Extends a JSON pointer by one step."""
    return f"{place}/{str(step).replace('~', '~0').replace('/', '~1')}"


def _load(text: str | bytes, parse_constant: Any) -> Any:  # noqa: ANN401 # any JSON value
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=parse_constant)
    except json.JSONDecodeError as error:
        raise InvalidJson(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise InvalidJson("it is nested too deeply") from error
    except ValueError as error:  # an integer beyond Python's limit, or bytes that are no text
        raise InvalidJson(str(error).partition(";")[0]) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) == len(pairs):
        return content
    repeating = _Repeating(content)
    repeating.names = repeated_in(name for name, _ in pairs)
    return repeating


def _pointers(value: object) -> Iterator[str]:
    """Yields a pointer to every repeated name; without recursion, because text may be nested deeply."""
    pending = [("", value)]
    for place, here in pending:  # which grows as it goes
        if isinstance(here, _Repeating):
            yield from (pointer_below(place, name) for name in here.names)
        if isinstance(here, dict):
            pending += [(pointer_below(place, name), below) for name, below in here.items()]
        elif isinstance(here, list):
            pending += [(pointer_below(place, index), below) for index, below in enumerate(here)]


def _refuse_constant(name: str) -> NoReturn:
    raise AmbiguousJson(f"contains {name}, which JSON does not have; use a finite number or null")
