"""One observation for every request, and one log line for each that changes something or is refused."""

import time

import structlog
from prometheus_client import Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger(__name__)

#: The route of a path that nothing serves, and the method of one that HTTP does not name: both are the client's words.
UNMATCHED = "unmatched"
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

#: What clients poll with: while it succeeds it is counted, not logged. Lines of polls would hide the others.
READS = frozenset({"GET", "HEAD"})

#: As nginx counts a client that left before it was answered.
CLIENT_LEFT = 499


class AccessLog:
    """ASGI middleware: method, route, status and seconds, into a histogram and the log."""

    def __init__(self, app: ASGIApp, durations: Histogram) -> None:
        self.app = app
        self.durations = durations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Measures until the last byte has been handed on: a stream counts for as long as it lasts."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = CLIENT_LEFT

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        try:
            await self.app(scope, receive, watch)
        finally:
            self._record(scope, status, time.perf_counter() - began)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else OTHER
        route = getattr(scope.get("route"), "path", UNMATCHED)
        self.durations.labels(method, route, f"{status // 100}xx").observe(seconds)
        if status >= 400 or method not in READS:
            log.info("request", method=method, route=route, status=status, duration_seconds=round(seconds, 6))
