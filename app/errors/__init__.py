"""All errors that the API returns, as application/problem+json (RFC 9457).

HalftimeError
├── BadRequest            400
│   └── UntrustedHost         the `Host` is not a name of this server, which asks for no key
├── Unauthenticated       401  with WWW-Authenticate
├── Forbidden             403  the key lacks the scope
│   └── CrossSite             a page of another site requests a change
├── NotFound              404
│   └── NoTrace               the leg has no trace
├── NotAcceptable         406
├── Conflict              409
│   ├── AlreadyFinished       cancelling a benchmark that has succeeded or failed
│   ├── StillRunning          deleting a benchmark that has not ended
│   ├── ReportNotReady        with Retry-After
│   ├── BenchmarkFailed       the benchmark ended without a report
│   └── DeliveryPending       replaying a delivery that is still pending
├── Purged                410  by retention
├── BodyTooLarge          413
├── Invalid               422  with the location of each fault
│   ├── BadCursor
│   ├── IdempotencyKeyReused
│   ├── NotComparable
│   ├── TooManyParameters
│   └── WebhookRefused
├── QuotaExceeded         429  with Retry-After
├── QueueFull             503  with Retry-After
└── DatabaseUnavailable   503
    └── StorageFull           the disk of PostgreSQL is full; with Retry-After
"""

from typing import Any, ClassVar

from halftime.contract.resources.problem import MEDIA_TYPE, FieldError, Problem, ValidationProblem


class HalftimeError(Exception):
    """A request that failed; `detail` says why and what to do."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.errors: list[FieldError] = []


class BadRequest(HalftimeError):
    """The request body cannot be parsed."""

    status, code, title = 400, "bad_request", "The request cannot be parsed"


class UntrustedHost(BadRequest):
    """The `Host` header may name another site."""

    code, title = "untrusted_host", "Untrusted host name"


class Unauthenticated(HalftimeError):
    """A key is required, and the request has none or an invalid one."""

    status, code, title = 401, "unauthenticated", "A valid API key is required"


class Forbidden(HalftimeError):
    """The key does not have the required scope."""

    status, code, title = 403, "forbidden", "The API key lacks the required scope"


class CrossSite(Forbidden):
    """A page of another site sent the request, according to the browser's headers."""

    code, title = "cross_site", "Cross-site request refused"


class NotFound(HalftimeError):
    """No resource has this id."""

    status, code, title = 404, "not_found", "Not found"


class NoTrace(NotFound):
    """The leg has no trace, for the reason that `detail` gives."""

    code, title = "no_trace", "No trace"


class NotAcceptable(HalftimeError):
    """The client accepts none of the available formats."""

    status, code, title = 406, "not_acceptable", "No acceptable format"


class Conflict(HalftimeError):
    """The benchmark's status does not allow the request."""

    status, code, title = 409, "conflict", "Not allowed in the current status"


class AlreadyFinished(Conflict):
    """The benchmark has ended and cannot be cancelled."""

    code, title = "already_finished", "Already finished"


class StillRunning(Conflict):
    """The benchmark has not ended and cannot be deleted."""

    code, title = "still_running", "Not finished yet"


class ReportNotReady(Conflict):
    """The benchmark has not ended, so it has no report yet."""

    code, title = "report_not_ready", "No report yet"


class BenchmarkFailed(Conflict):
    """The benchmark ended without a report."""

    code, title = "benchmark_failed", "The benchmark has no report"


class DeliveryPending(Conflict):
    """The delivery is still pending and cannot be replayed."""

    code, title = "delivery_pending", "Not delivered yet"


class Purged(HalftimeError):
    """The resource was older than HALFTIME_RETENTION_DAYS."""

    status, code, title = 410, "purged", "Purged by retention"


class BodyTooLarge(HalftimeError):
    """The request body exceeds HALFTIME_MAX_BODY_BYTES."""

    status, code, title = 413, "body_too_large", "Request body too large"


class Invalid(HalftimeError):
    """The request was parsed, but is not valid."""

    status, code, title = 422, "invalid", "The request is not valid"

    def __init__(self, detail: str, errors: list[FieldError] | None = None) -> None:
        super().__init__(detail)
        self.errors = errors or []


class BadCursor(Invalid):
    """The cursor was not returned by this server."""

    code = "bad_cursor"


class IdempotencyKeyReused(Invalid):
    """The Idempotency-Key was used with a different request."""

    code, title = "idempotency_key_reused", "The Idempotency-Key was used with a different request"


class NotComparable(Invalid):
    """The two reports do not measure the same work."""

    code, title = "not_comparable", "The reports cannot be compared"


class TooManyParameters(Invalid):
    """The model exceeds HALFTIME_MAX_PARAMETERS."""

    code, title = "too_many_parameters", "The model is too large"


class WebhookRefused(Invalid):
    """This server allows no webhooks, or none to this host."""

    code, title = "webhook_refused", "The webhook is not allowed"


class QuotaExceeded(HalftimeError):
    """The key has no submits left in this hour."""

    status, code, title = 429, "quota_exceeded", "The API key's quota is exhausted"


class QueueFull(HalftimeError):
    """The queue has HALFTIME_MAX_QUEUED benchmarks, or would exceed it."""

    status, code, title = 503, "queue_full", "The queue is full"


class DatabaseUnavailable(HalftimeError):
    """PostgreSQL does not answer."""

    status, code, title = 503, "database_unavailable", "The database is not available"


class StorageFull(DatabaseUnavailable):
    """PostgreSQL cannot write because its disk is full; reading still works."""

    code, title = "storage_full", "The database's disk is full"


def problem_responses(*errors: type[HalftimeError]) -> dict[int | str, dict[str, Any]]:
    """Returns the error responses of a route, for the OpenAPI document."""
    responses: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        model = ValidationProblem if issubclass(error, Invalid) else Problem
        schema = {"$ref": f"#/components/schemas/{model.__name__}"}
        before = responses.get(error.status, {}).get("description")
        description = f"{before}, or: {error.title}" if before else error.title
        responses[error.status] = {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}
    return responses
