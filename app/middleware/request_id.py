"""An id for every request: in its answer, in its problem document, in every log line it causes."""

import re
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"

#: What is taken from a client; anything else could forge log lines, or fill them.
SANE = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")


class RequestId:
    """ASGI middleware: takes a sane `X-Request-ID`, or makes one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Keeps the id in `request.state.request_id` and in the log's context while the request lasts."""
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
    given = headers.get(HEADER, "")
    return given if SANE.fullmatch(given) else uuid.uuid4().hex
