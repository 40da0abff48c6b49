"""Halftime's library: a typed client, the contract's models, and the interface for plugins.

from halftime import Client

with Client("http://gpu-node:8000") as client:
    report = client.run(request)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from halftime.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Imports the client when it is first used: a worker needs only the contract."""
    if name in {"AsyncClient", "Client"}:
        from halftime import client  # noqa: PLC0415

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
