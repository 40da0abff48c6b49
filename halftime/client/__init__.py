"""A client of the API on httpx, typed with the contract's own models.

`Client` waits for its answers, `AsyncClient` awaits them; both make the same calls, each described once, in
`calls.py` (one request) and `flows.py` (several).
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
