"""Converts httpx's errors to the client's."""

import contextlib
from collections.abc import Iterator

import httpx

from halftime.client.errors import CannotConnect, ConnectionLost

#: Errors after which the request cannot have reached a server.
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


@contextlib.contextmanager
def transport_errors() -> Iterator[None]:
    """Converts every error of httpx to a TransportError."""
    try:
        yield
    except UNSENT as error:
        raise CannotConnect(_reason(error)) from error
    except httpx.RequestError as error:
        raise ConnectionLost(_reason(error)) from error


def _reason(error: httpx.RequestError) -> str:
    return str(error) or type(error).__name__  # a timeout has no text
