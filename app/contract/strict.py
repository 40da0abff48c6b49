"""The two bases of every model in the contract: what clients send, and what Halftime answers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Input(BaseModel):
    """Something a client sends: unknown fields refused, numbers strict and finite."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Output(BaseModel):
    """Something Halftime answers. Readers accept fields they do not know yet: the contract grows by addition only."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


#: A float that JSON can carry: NaN and infinities become null.
MaybeFloat = Annotated[float | None, Field(description="null where the value is not finite or does not exist")]
