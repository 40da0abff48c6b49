"""The two bases of every model in the contract, what clients send and what Halftime answers, and text in them."""

import unicodedata
from typing import Annotated, Any, LiteralString

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

#: A JSON object.
Json = dict[str, Any]


class Input(BaseModel):
    """Something a client sends: unknown fields refused, numbers strict and finite."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Output(BaseModel):
    """Something Halftime answers. Readers accept fields they do not know yet: the contract grows by addition only."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


#: A float that JSON can carry: NaN and infinities become null.
MaybeFloat = Annotated[float | None, Field(description="null where the value is not finite or does not exist")]


def fault_at(place: tuple[int | str, ...], code: LiteralString, reason: str) -> ValidationError:
    """What a validator raises for a fault below the place that it validates."""
    fault = InitErrorDetails(type=PydanticCustomError(code, "{reason}", {"reason": reason}), loc=place, input=None)
    return ValidationError.from_exception_data("request", [fault])


def _printable(text: str) -> str:
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise PydanticCustomError("not_printable", "control characters and lone surrogates are not allowed")
    return text


def storable(text: str) -> str:
    """Text that PostgreSQL can hold as JSON. Raises PydanticCustomError for other text."""
    if "\x00" in text or any(unicodedata.category(character) == "Cs" for character in text):
        raise PydanticCustomError("not_storable", "NUL characters and lone surrogates are not allowed")
    return text


#: Text for people: one line, no control characters.
Printable = Annotated[str, AfterValidator(_printable)]
