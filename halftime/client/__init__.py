"""A client of the API based on httpx, typed with the contract's models.

`Client` is synchronous, `AsyncClient` asynchronous; both have the same methods, each defined once: in `endpoints.py`
for one request, in `operations.py` for several.
"""

from halftime.client.asynchronous import AsyncClient
from halftime.client.errors import (
    BenchmarkFailed,
    CannotConnect,
    ClientError,
    ConnectionLost,
    ProblemError,
    TransportError,
    UnexpectedAnswer,
    WaitTimeout,
)
from halftime.client.server import DEFAULT_SERVER
from halftime.client.synchronous import Client

__all__ = [
    "DEFAULT_SERVER",
    "AsyncClient",
    "BenchmarkFailed",
    "CannotConnect",
    "Client",
    "ClientError",
    "ConnectionLost",
    "ProblemError",
    "TransportError",
    "UnexpectedAnswer",
    "WaitTimeout",
]
