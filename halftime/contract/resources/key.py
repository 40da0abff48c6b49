"""API keys: what an operator asks for, and what is told of a key."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from halftime.contract.strict import Input, Output, Printable

#: `admin` implies `submit`, `submit` implies `read`.
Scope = Literal["read", "submit", "admin"]

#: What each scope allows.
IMPLIED: dict[Scope, frozenset[Scope]] = {
    "read": frozenset({"read"}),
    "submit": frozenset({"submit", "read"}),
    "admin": frozenset({"admin", "submit", "read"}),
}


class NewKey(Input):
    """A key to be made."""

    #: For people: who or what uses it.
    name: Annotated[Printable, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[Scope], Field(min_length=1)]
    #: Benchmarks it may submit in any hour; null for no quota.
    submits_per_hour: Annotated[int | None, Field(ge=1, le=1_000_000)] = None


class ApiKey(Output):
    """A key without its secret."""

    id: str
    name: str
    scopes: list[Scope]
    submits_per_hour: int | None
    created_at: datetime
    #: Within a minute; null for a key never used.
    last_used_at: datetime | None
    revoked_at: datetime | None


class CreatedKey(ApiKey):
    """A key as its maker sees it, once."""

    key: str


class ApiKeyPage(Output):
    """Every key ever made, oldest first."""

    items: list[ApiKey]
