"""What browsers are told about every answer."""

from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: For data. What may be kept sets a `Cache-Control` of its own.
DEFAULTS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}

#: For pages, before those: scripts, styles and pictures of this origin only, none of them inline, no frame around it.
#: With `no-referrer` a browser would not say where a form was sent from.
PAGES = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class SecurityHeaders:
    """ASGI middleware: adds each header that the answer does not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands everything on; the start of the answer with the headers."""

        async def send_with_headers(message: Message) -> None:
            # What a 304 says goes in the place of what the browser knows of the answer that it holds.
            if message["type"] == "http.response.start" and message["status"] != HTTPStatus.NOT_MODIFIED:
                headers = MutableHeaders(scope=message)
                is_page = headers.get("Content-Type", "").startswith("text/html")
                for name, value in (DEFAULTS | PAGES if is_page else DEFAULTS).items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)
