"""Whether a request that changes something comes from a page of this server."""

from urllib.parse import urlsplit

from fastapi import Depends, Request

from app import errors

#: Methods that change nothing.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def require_same_origin(request: Request) -> None:
    """What browsers say themselves of where a request was made, and no page can forge. Raises Forbidden.

    `Sec-Fetch-Site` goes to trusted origins only, that is HTTPS and loopback; elsewhere `Origin` is held against
    the `Host` that was asked.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        same = site == "same-origin"
    else:
        same = origin is not None and urlsplit(origin).netloc == request.headers.get("Host")
    if not same:
        raise errors.Forbidden(
            "The request was not made by a page of this server, so the browser's key does not count. "
            "Open the page here and try again; programs send `Authorization: Bearer <key>`."
        )


async def _from_here(request: Request) -> None:
    require_same_origin(request)


#: A route that only pages of this server may call.
SameOrigin = Depends(_from_here)
