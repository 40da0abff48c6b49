"""Checks the name under which a browser reached a server that asks for no key.

DNS rebinding lets a page of any site resolve its own name to this server's address: the browser then takes the server's
answers for those of that site. The `Host` header still says the site's name.
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
            f"This server does not answer to the name {request.headers.get('Host', '')[:100]!r} while it asks for no "
            "API key. Whoever runs it can add the name to HALFTIME_ALLOWED_HOSTS, or make a key "
            "(`halftime keys create NAME`)."
        )


def _bound_address(request: Request) -> list[str]:
    """The server's end of the connection: an address where HALFTIME_HOST is `0.0.0.0`."""
    server = request.scope.get("server")
    return [server[0]] if server else []


async def _discard(_: Message) -> None:
    """Drops Starlette's refusal, which is plain text."""
