"""API keys: the request for a new key, and the properties shown of a key."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from halftime.contract.strict import Input, Output, Printable

#: `admin` implies `submit`, `submit` implies `read`.
Scope = Literal["read", "submit", "admin"]

#: The scopes that each scope includes.
IMPLIED: dict[Scope, frozenset[Scope]] = {
    "read": frozenset({"read"}),
    "submit": frozenset({"submit", "read"}),
    "admin": frozenset({"admin", "submit", "read"}),
}


class NewKey(Input):
    """The properties of a key to create."""

    #: Description for people: who or what uses the key.
    name: Annotated[Printable, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[Scope], Field(min_length=1)]
    #: Benchmarks that the key may submit per hour; null: no quota.
    submits_per_hour: Annotated[int | None, Field(ge=1, le=1_000_000)] = None


class ApiKey(Output):
    """A key without its secret."""

    id: str
    name: str
    scopes: list[Scope]
    submits_per_hour: int | None
    created_at: datetime
    #: Accurate to a minute; null if the key was never used.
    last_used_at: datetime | None
    revoked_at: datetime | None


class CreatedKey(ApiKey):
    """A new key with its secret, which is shown only once."""

    key: str


class ApiKeyPage(Output):
    """Every key ever created, oldest first."""

    items: list[ApiKey]
