"""Middleware of every request, outside the framework's error handling, so that it also covers unexpected errors."""

from fastapi import FastAPI
from prometheus_client import Histogram
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from app.middleware.access_log import AccessLog
from app.middleware.head import HeadAsGet
from app.middleware.request_id import RequestId
from app.middleware.security_headers import SecurityHeaders
from app.settings import Settings

#: Headers that a page of another origin may send, and those of a response that it may read.
CORS_REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
    "X-Request-ID",
)
CORS_RESPONSE_HEADERS = (
    "ETag",
    "Location",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-ID",
)


def install_middleware(app: FastAPI, settings: Settings, durations: Histogram) -> None:
    """Wraps the app's own stack in request id, access log and metric, security headers, CORS if configured, HEAD."""
    build = app.build_middleware_stack

    def stack() -> ASGIApp:
        inner: ASGIApp = HeadAsGet(build())
        if settings.allowed_origins:
            inner = _cross_origin(inner, settings.allowed_origins)
        return RequestId(AccessLog(SecurityHeaders(inner), durations))

    app.build_middleware_stack = stack  # type: ignore[method-assign] # its own list runs inside its error handling


def _cross_origin(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "HEAD", "POST", "DELETE"),
        allow_headers=CORS_REQUEST_HEADERS,
        expose_headers=CORS_RESPONSE_HEADERS,
    )
