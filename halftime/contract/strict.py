"""Base classes of the contract's models, for input and for output, and validated text types."""

import unicodedata
from typing import Annotated, Any, LiteralString

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

#: A JSON object.
Json = dict[str, Any]

#: Validation context of what was accepted before, perhaps by an earlier release that allowed more.
ACCEPTED = {"accepted": True}


class Input(BaseModel):
    """Base of what a client sends: unknown fields are refused, numbers are strict and finite."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Output(BaseModel):
    """Base of what Halftime returns. Unknown fields are ignored, because later releases only add fields."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


#: A float that JSON can represent: NaN and infinities become null.
MaybeFloat = Annotated[float | None, Field(description="null if the value is not finite or does not exist")]


def fault_at(place: tuple[int | str, ...], code: LiteralString, reason: str) -> ValidationError:
    """Creates the error that a validator raises for a nested field; `place` is the path to it."""
    fault = InitErrorDetails(type=PydanticCustomError(code, "{reason}", {"reason": reason}), loc=place, input=None)
    return ValidationError.from_exception_data("request", [fault])


def _printable(text: str) -> str:
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise PydanticCustomError("not_printable", "control characters and lone surrogates are not allowed")
    return text


def storable(text: str) -> str:
    """Returns the text if PostgreSQL can store it as JSON. Raises PydanticCustomError otherwise."""
    if "\x00" in text or any(unicodedata.category(character) == "Cs" for character in text):
        raise PydanticCustomError("not_storable", "NUL characters and lone surrogates are not allowed")
    return text


#: Text for people: one line, no control characters.
Printable = Annotated[str, AfterValidator(_printable)]
