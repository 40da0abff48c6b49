"""Checks whether a request that changes something comes from a page of this server, of another site, or a program."""

from fastapi import Depends, Request

from app import errors
from app.settings import Settings

#: Methods that change nothing.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def require_same_origin(request: Request) -> None:
    """What browsers say themselves of where a request was made, and no page can forge. Raises CrossSite.

    `Sec-Fetch-Site` goes to trusted origins only, that is HTTPS and loopback; elsewhere `Origin` is held against
    the `Host` that was asked.
    """
    site = request.headers.get("Sec-Fetch-Site")
    here = site == "same-origin" if site is not None else request.headers.get("Origin") in _own_origins(request)
    if not here:
        raise errors.CrossSite(
            "The request was not made by a page of this server, so the browser's key does not count. "
            "Open the page here and try again; programs send `Authorization: Bearer <key>`."
        )


async def refuse_cross_site(request: Request) -> None:
    """Refuses a change that a page of another site asks for; HALFTIME_CORS_ORIGINS are no such sites. Raises CrossSite.

    Programs send neither header. Without a key this is all that keeps such pages out: a POST without a body needs no
    preflight.
    """
    if request.method in SAFE:
        return
    settings: Settings = request.app.state.settings
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    foreign = site not in {"same-origin", "none"} if site is not None else origin not in {None, *_own_origins(request)}
    if foreign and origin not in settings.allowed_origins:
        raise errors.CrossSite(
            f"A page of another site ({(origin or 'its origin is not known')[:100]}) asks for a change. Whoever runs "
            "this server can allow its origin in HALFTIME_CORS_ORIGINS; a proxy must pass `Host` on unchanged."
        )


def _own_origins(request: Request) -> set[str]:
    host = request.headers.get("Host")
    return {f"http://{host}", f"https://{host}"}


async def _from_here(request: Request) -> None:
    require_same_origin(request)


#: A route that only pages of this server may call.
SameOrigin = Depends(_from_here)
