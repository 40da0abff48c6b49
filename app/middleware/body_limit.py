"""A limit on the size of request bodies, enforced while they arrive and before they are parsed."""

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import BodyTooLarge
from app.errors.handlers import problem_response


class BodyLimit:
    """ASGI middleware: returns 413 for a body longer than `max_bytes`, with or without `Content-Length`."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads the body and passes it on, or returns 413 as soon as it exceeds the limit."""
        if scope["type"] != "http" or not _has_body(scope):
            await self.app(scope, receive, send)
            return
        messages: list[Message] = []
        received = 0
        while not messages or messages[-1].get("more_body"):
            messages.append(await receive())
            received += len(messages[-1].get("body", b""))
            if received > self.max_bytes:
                detail = (
                    f"The body is longer than {self.max_bytes} bytes (HALFTIME_MAX_BODY_BYTES). Send a shorter one."
                )
                response = problem_response(Request(scope), BodyTooLarge(detail))
                await response(scope, receive, send)
                return
        pending = iter(messages)

        async def replay() -> Message:
            return next(pending, None) or await receive()

        await self.app(scope, replay, send)


def _has_body(scope: Scope) -> bool:
    """Returns whether the headers announce a body (RFC 9112, section 6)."""
    return any(name in {b"content-length", b"transfer-encoding"} for name, _ in scope["headers"])
