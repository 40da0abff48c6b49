"""Protection against DNS rebinding, by the `Host` header, for servers that ask for no key.

DNS rebinding lets a page of any site resolve the site's name to this server's address, so that the browser allows the
page to read this server's responses. The `Host` header still contains the site's name.
"""

from fastapi import Request
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Message

from app import errors
from app.settings import Settings

LOOPBACK = ("localhost", "127.0.0.1", "::1")


async def require_trusted_host(request: Request, settings: Settings) -> None:
    """Accepts loopback names, the address bound and HALFTIME_ALLOWED_HOSTS. Raises UntrustedHost for another `Host`."""
    trusted = False

    async def accept(*_: object) -> None:
        nonlocal trusted
        trusted = True

    names = [*LOOPBACK, settings.host, *_bound_address(request), *settings.allowed_hosts]
    hosts = [f"[{name}]" if ":" in name else name for name in names]  # IPv6 addresses, as in a URL
    await TrustedHostMiddleware(accept, hosts, www_redirect=False)(request.scope, request.receive, _discard)
    if not trusted:
        raise errors.UntrustedHost(
            f"While this server asks for no API key, it does not accept the host name "
            f"{request.headers.get('Host', '')[:100]!r}. An operator can add the name to HALFTIME_ALLOWED_HOSTS, or "
            "create a key with `halftime keys create NAME`."
        )


def _bound_address(request: Request) -> list[str]:
    """Returns the server's address of the connection, which differs from HALFTIME_HOST where that is `0.0.0.0`."""
    server = request.scope.get("server")
    return [server[0]] if server else []


async def _discard(_: Message) -> None:
    """Discards Starlette's error response, which is plain text."""
