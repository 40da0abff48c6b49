"""Protection against cross-site request forgery, by `Sec-Fetch-Site` and `Origin`."""

from fastapi import Depends, Request

from app import errors
from app.settings import Settings

#: Methods that change nothing (RFC 9110, section 9.2.1).
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def require_same_origin(request: Request) -> None:
    """Raises CrossSite unless a page of this server sent the request, by headers that pages cannot forge.

    Browsers send `Sec-Fetch-Site` only to trustworthy origins (HTTPS and loopback); otherwise `Origin` is compared with
    `Host`.
    """
    site = request.headers.get("Sec-Fetch-Site")
    is_own = site == "same-origin" if site is not None else request.headers.get("Origin") in _own_origins(request)
    if not is_own:
        raise errors.CrossSite(
            "The request was not sent by a page of this server, so the key in the cookie is not accepted. "
            "Open the page on this server and try again; programs must send `Authorization: Bearer <key>`."
        )


async def refuse_cross_site(request: Request) -> None:
    """Raises CrossSite for a change requested by a page of another site, unless HALFTIME_CORS_ORIGINS names its origin.

    Programs send neither header. On a server without keys this is the only protection against such pages: browsers send
    a POST without a body without a preflight.
    """
    if request.method in SAFE:
        return
    settings: Settings = request.app.state.settings
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    is_foreign = (
        site not in {"same-origin", "none"} if site is not None else origin not in {None, *_own_origins(request)}
    )
    if is_foreign and origin not in settings.allowed_origins:
        raise errors.CrossSite(
            f"A page of another site ({(origin or 'unknown origin')[:100]}) requested a change. An operator of this "
            "server can allow its origin in HALFTIME_CORS_ORIGINS; a proxy must forward `Host` unchanged."
        )


def _own_origins(request: Request) -> set[str]:
    host = request.headers.get("Host")
    return {f"http://{host}", f"https://{host}"}


async def _same_origin(request: Request) -> None:
    require_same_origin(request)


#: Dependency of a route that only pages of this server may call.
SameOrigin = Depends(_same_origin)
