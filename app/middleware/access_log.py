"""The duration metric of every request, and a log line for each one that changes something or fails."""

import time

import structlog
from prometheus_client import Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger(__name__)

#: Labels for an unknown path and an unknown method: clients choose both, so their number is unlimited.
UNMATCHED = "unmatched"
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

#: Methods of polling. Successful polls are counted, but not logged: they would hide other lines.
READS = frozenset({"GET", "HEAD"})

#: Status for a client that disconnected before the response, as in nginx.
CLIENT_CLOSED = 499


class AccessLog:
    """ASGI middleware: records method, route, status and seconds in a histogram and the log."""

    def __init__(self, app: ASGIApp, durations: Histogram) -> None:
        self.app = app
        self.durations = durations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Measures until the last byte was sent: a stream is measured to its end."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = CLIENT_CLOSED

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        try:
            await self.app(scope, receive, watch)
        finally:
            self._record(scope, status, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else OTHER
        route = getattr(scope.get("route"), "path", UNMATCHED)
        self.durations.labels(method, route, f"{status // 100}xx").observe(seconds)
        if status >= 400 or method not in READS:
            log.info("request", method=method, route=route, status=status, duration_seconds=round(seconds, 6))
