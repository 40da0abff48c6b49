"""Whether a request that changes something comes from a page of this server."""

from fastapi import Depends, Request

from app import errors

#: Methods that change nothing.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def require_same_origin(request: Request) -> None:
    """What browsers say themselves of where a request was made, and no page can forge. Raises Forbidden.

    `Sec-Fetch-Site` goes to trusted origins only, that is HTTPS and loopback; elsewhere `Origin` is held against
    the `Host` that was asked.
    """
    site, host = request.headers.get("Sec-Fetch-Site"), request.headers.get("Host")
    own = {f"http://{host}", f"https://{host}"}
    if not (site == "same-origin" if site is not None else request.headers.get("Origin") in own):
        raise errors.Forbidden(
            "The request was not made by a page of this server, so the browser's key does not count. "
            "Open the page here and try again; programs send `Authorization: Bearer <key>`."
        )


async def _from_here(request: Request) -> None:
    require_same_origin(request)


#: A route that only pages of this server may call.
SameOrigin = Depends(_from_here)
