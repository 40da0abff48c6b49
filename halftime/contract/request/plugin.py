"""Names of plugins in installed packages, and the arguments passed to them."""

import json
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue
from pydantic_core import PydanticCustomError

from halftime.contract.strict import storable

#: Length limit of the arguments as JSON.
MAX_ARGUMENT_CHARACTERS = 16_384

#: Nesting limit of lists and objects.
MAX_ARGUMENT_DEPTH = 8

PluginName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]

ArgumentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


def _bounded(arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
    level: list[JsonValue] = [arguments]
    for _ in range(MAX_ARGUMENT_DEPTH + 1):
        level = [inner for value in level for inner in _inside(value)]
    if level:
        raise PydanticCustomError(
            "arguments_too_deep", "arguments may be nested at most {depth} levels deep", {"depth": MAX_ARGUMENT_DEPTH}
        )
    try:
        text = json.dumps(arguments, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise PydanticCustomError("arguments_not_finite", "numbers in arguments must be finite") from error
    if len(text) > MAX_ARGUMENT_CHARACTERS:
        raise PydanticCustomError(
            "arguments_too_long",
            "arguments may have at most {limit} characters as JSON, but have {length}",
            {"limit": MAX_ARGUMENT_CHARACTERS, "length": len(text)},
        )
    return arguments


def _inside(value: JsonValue) -> list[JsonValue]:
    """Returns the values in a list or an object. Raises PydanticCustomError for text that cannot be stored."""
    if isinstance(value, str):
        storable(value)
    if isinstance(value, dict):
        for key in value:
            storable(key)
        return list(value.values())
    return value if isinstance(value, list) else []


#: Keyword arguments for a plugin: JSON with limited length and depth.
PluginArguments = Annotated[dict[ArgumentName, JsonValue], AfterValidator(_bounded)]
