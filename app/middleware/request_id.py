"""An id for every request, in its response, its problem document and its log lines."""

import re
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"

#: Ids accepted from clients; others could forge or flood log lines.
VALID = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")


class RequestId:
    """ASGI middleware: accepts a valid `X-Request-ID`, or generates one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stores the id in `request.state.request_id` and in the log context of the request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self.app(scope, receive, send_with_id)


def _request_id(headers: Headers) -> str:
    value = headers.get(HEADER, "")
    return value if VALID.fullmatch(value) else uuid.uuid4().hex
