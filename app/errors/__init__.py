"""Everything a request can be refused for, and how it is said: application/problem+json (RFC 9457).

HalftimeError
├── BadRequest            400
│   └── UntrustedHost         reached under a name of another site, while no key is asked for
├── Unauthenticated       401  with WWW-Authenticate
├── Forbidden             403  the key lacks the scope
│   └── CrossSite             a page of another site asks for a change
├── NotFound              404
├── NotAcceptable         406
├── Conflict              409
│   ├── AlreadyFinished       cancelling what has succeeded or failed
│   ├── StillRunning          deleting what is not over
│   ├── ReportNotReady        with Retry-After
│   ├── BenchmarkFailed       there will be no report
│   └── DeliveryPending       replaying what is on its way
├── Purged                410  by retention
├── BodyTooLarge          413
├── Invalid               422  with the place of each fault
│   ├── BadCursor
│   ├── IdempotencyKeyReused
│   ├── NotComparable
│   ├── TooManyParameters
│   └── WebhookRefused
├── QuotaExceeded         429  with Retry-After
├── QueueFull             503  with Retry-After
└── DatabaseUnavailable   503
    └── StorageFull           its disk is full; with Retry-After
"""

from typing import Any, ClassVar

from halftime.contract.resources.problem import MEDIA_TYPE, FieldError, Problem, ValidationProblem


class HalftimeError(Exception):
    """A request that cannot be done; `detail` says why and what to do."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.errors: list[FieldError] = []


class BadRequest(HalftimeError):
    """The body cannot be read at all."""

    status, code, title = 400, "bad_request", "The request cannot be read"


class UntrustedHost(BadRequest):
    """The `Host` may be a name of another site."""

    code, title = "untrusted_host", "Not a name of this server"


class Unauthenticated(HalftimeError):
    """A key is needed, and none that holds came along."""

    status, code, title = 401, "unauthenticated", "An API key is needed"


class Forbidden(HalftimeError):
    """The key does not have the scope."""

    status, code, title = 403, "forbidden", "The API key does not allow this"


class CrossSite(Forbidden):
    """A browser says that a page of another site sent the request."""

    code, title = "cross_site", "Sent by a page of another site"


class NotFound(HalftimeError):
    """Nothing has this id."""

    status, code, title = 404, "not_found", "Not found"


class NotAcceptable(HalftimeError):
    """None of the formats on offer is accepted."""

    status, code, title = 406, "not_acceptable", "No acceptable format"


class Conflict(HalftimeError):
    """The benchmark's status does not allow it."""

    status, code, title = 409, "conflict", "Not in this status"


class AlreadyFinished(Conflict):
    """Too late to cancel."""

    code, title = "already_finished", "Already finished"


class StillRunning(Conflict):
    """Too early to delete."""

    code, title = "still_running", "Not finished yet"


class ReportNotReady(Conflict):
    """The benchmark has not finished."""

    code, title = "report_not_ready", "No report yet"


class BenchmarkFailed(Conflict):
    """The benchmark ended without a report."""

    code, title = "benchmark_failed", "The benchmark has no report"


class DeliveryPending(Conflict):
    """Too early to replay."""

    code, title = "delivery_pending", "Not delivered yet"


class Purged(HalftimeError):
    """It was here until HALFTIME_RETENTION_DAYS had passed."""

    status, code, title = 410, "purged", "Purged by retention"


class BodyTooLarge(HalftimeError):
    """Over HALFTIME_MAX_BODY_BYTES."""

    status, code, title = 413, "body_too_large", "Request body too large"


class Invalid(HalftimeError):
    """Readable, but not allowed."""

    status, code, title = 422, "invalid", "The request is not valid"

    def __init__(self, detail: str, errors: list[FieldError] | None = None) -> None:
        super().__init__(detail)
        self.errors = errors or []


class BadCursor(Invalid):
    """Not a cursor of ours."""

    code = "bad_cursor"


class IdempotencyKeyReused(Invalid):
    """The key stands for another request."""

    code, title = "idempotency_key_reused", "The Idempotency-Key was used for another request"


class NotComparable(Invalid):
    """Two reports that do not measure the same work."""

    code, title = "not_comparable", "The reports cannot be compared"


class TooManyParameters(Invalid):
    """Over HALFTIME_MAX_PARAMETERS."""

    code, title = "too_many_parameters", "The model is too large"


class WebhookRefused(Invalid):
    """The operator does not allow webhooks, or not to this host."""

    code, title = "webhook_refused", "The webhook is not allowed"


class QuotaExceeded(HalftimeError):
    """Over the key's submits per hour."""

    status, code, title = 429, "quota_exceeded", "The API key's quota is used up"


class QueueFull(HalftimeError):
    """Over HALFTIME_MAX_QUEUED."""

    status, code, title = 503, "queue_full", "The queue is full"


class DatabaseUnavailable(HalftimeError):
    """PostgreSQL does not answer."""

    status, code, title = 503, "database_unavailable", "The database is not available"


class StorageFull(DatabaseUnavailable):
    """PostgreSQL has no room to write: what is stored can still be read."""

    code, title = "storage_full", "The database's disk is full"


def problem_responses(*errors: type[HalftimeError]) -> dict[int | str, dict[str, Any]]:
    """The error bodies a route can give, for its OpenAPI document."""
    found: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        model = ValidationProblem if issubclass(error, Invalid) else Problem
        schema = {"$ref": f"#/components/schemas/{model.__name__}"}
        before = found.get(error.status, {}).get("description")
        description = f"{before}, or: {error.title}" if before else error.title
        found[error.status] = {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}
    return found
