"""The two bases of every model in the contract: what clients send, and what Halftime answers."""

from typing import Annotated, LiteralString

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError


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
