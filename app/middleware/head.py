"""HEAD wherever there is GET."""

import anyio.lowlevel
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """ASGI middleware: answers HEAD with the head of what GET gives."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ends the answer where its body would begin: a stream sees its client leave, and stops."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b""})
            await anyio.lowlevel.checkpoint()  # a stream that never waits for its client would never be told

        as_get = {**scope, "method": "GET"}
        try:
            await self.app(as_get, receive, send_head)
        finally:
            scope.update(as_get | {"method": "HEAD"})  # what was routed to, for the access log
