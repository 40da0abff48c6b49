"""Everything a request can be refused for, and how it is said: application/problem+json (RFC 9457).

HalftimeError
├── BadRequest            400
├── Unauthenticated       401  with WWW-Authenticate
├── Forbidden             403  the key lacks the scope
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

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, ClassVar

import psycopg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from procrastinate.exceptions import ConnectorException
from psycopg.errors import DiskFull
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from app.contract.problem import MEDIA_TYPE, FieldError, Problem, ValidationProblem

log = structlog.get_logger(__name__)

NO_ROOM = (
    "Nothing was changed: the disk of PostgreSQL is full. Whoever runs it must free or add room; what is stored can be "
    "read meanwhile."
)


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


class Unauthenticated(HalftimeError):
    """A key is needed, and none that holds came along."""

    status, code, title = 401, "unauthenticated", "An API key is needed"


class Forbidden(HalftimeError):
    """The key does not have the scope."""

    status, code, title = 403, "forbidden", "The API key does not allow this"


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


def install_error_handlers(app: FastAPI) -> None:
    """Makes every error of the app a problem document."""
    app.add_exception_handler(HalftimeError, _on_halftime_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    for unavailable in (
        OperationalError,
        InterfaceError,
        PoolTimeoutError,
        ConnectorException,
        psycopg.OperationalError,
    ):
        app.add_exception_handler(unavailable, _on_database_error)
    app.add_exception_handler(Exception, _on_unexpected_error)


def problem_response(request: Request, error: HalftimeError) -> JSONResponse:
    """The problem document of an error."""
    problem: dict[str, Any] = {
        "type": f"/problems/{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": request.url.path,
        "request_id": _request_id(request),
    }
    if isinstance(error, Invalid):
        problem["errors"] = [field.model_dump() for field in error.errors]
    return JSONResponse(problem, error.status, error.headers, media_type=MEDIA_TYPE)


async def _on_halftime_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HalftimeError)
    return problem_response(request, error)


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = field_errors(error.errors(), error.body)
    if any(fault.type == "json_invalid" for fault in errors):
        return problem_response(request, BadRequest("The body is not valid JSON."))
    if any(fault.loc == "" for fault in errors) and "json" not in request.headers.get("Content-Type", ""):
        return problem_response(
            request, Invalid("Send the body as JSON, with `Content-Type: application/json`.", errors)
        )
    where = ", ".join(sorted({field.loc or "the body" for field in errors})[:5])
    return problem_response(request, Invalid(f"Not valid at {where}. `errors` says what is wrong with each.", errors))


def field_errors(faults: Sequence[Any], body: object) -> list[FieldError]:
    """The faults that pydantic found in a body, each with its place in what the client wrote."""
    return [
        FieldError(loc=_pointer(fault["loc"], body), msg=_clean(_message(fault)), type=fault["type"])
        for fault in faults
    ]


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == BadRequest.status:  # how the framework reports a body it could not decode
        return problem_response(request, BadRequest("The body is not valid JSON in UTF-8, or is nested too deeply."))
    problem = Problem(
        type=f"/problems/{HTTPStatus(error.status_code).name.lower()}",
        title=HTTPStatus(error.status_code).phrase,
        status=error.status_code,
        detail=str(error.detail),
        instance=request.url.path,
        request_id=_request_id(request),
    )
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # Pages are not in the document.
        headers["Allow"] = ", ".join(_methods_here(request)) or headers["Allow"]
    return JSONResponse(problem.model_dump(), error.status_code, headers, media_type=MEDIA_TYPE)


def _methods_here(request: Request) -> list[str]:
    """Every method of the path: the framework names those of one route only."""
    path = getattr(request.scope.get("route"), "path", None)
    methods = {method.upper() for method in request.app.openapi()["paths"].get(path, {})}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


async def _on_database_error(request: Request, error: Exception) -> JSONResponse:
    log.error("database unavailable", error=str(error), path=request.url.path)
    if _is_disk_full(error):
        return problem_response(request, StorageFull(NO_ROOM, headers={"Retry-After": "60"}))
    unavailable = DatabaseUnavailable("PostgreSQL does not answer. Try again shortly.", headers={"Retry-After": "5"})
    return problem_response(request, unavailable)


def _is_disk_full(error: BaseException) -> bool:
    """Whether PostgreSQL, at the bottom of an error, found no room to write (SQLSTATE 53100)."""
    below = getattr(error, "orig", None) or error.__cause__
    return isinstance(error, DiskFull) or (below is not None and _is_disk_full(below))


async def _on_unexpected_error(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", path=request.url.path, exc_info=error)
    problem = Problem(
        type="/problems/internal",
        title="Internal error",
        status=500,
        detail="Halftime failed to answer. The server's log has the traceback.",
        instance=request.url.path,
        request_id=_request_id(request),
    )
    return JSONResponse(problem.model_dump(), 500, media_type=MEDIA_TYPE)


def _request_id(request: Request) -> str:
    request_id: str = request.state.request_id
    return request_id


def _message(fault: dict[str, Any]) -> str:
    """What is wrong, without the input: pydantic quotes it for an unknown tag of a union."""
    if fault["type"] == "union_tag_invalid":
        return f"{fault['ctx']['discriminator']} must be one of {fault['ctx']['expected_tags']}"
    return str(fault["msg"])


#: Mappings, whose keys are no fields.
NAMED_BY_CLIENTS = {"labels"}


def _pointer(loc: tuple[int | str, ...], body: object) -> str:
    """A JSON pointer (RFC 6901) into the body; `query`, `path` and `header` stay as a first step.

    Pydantic adds steps that are not in the body: the chosen member of a union, and a mark for a mapping's keys.
    """
    steps: list[int | str] = []
    here, member = body, None
    for step in loc[1:] if loc and loc[0] == "body" else loc:
        if step == "[key]":
            continue
        if step == member:
            member = None  # once: a field may have the same name
            continue
        steps.append(step)
        here = _below(here, step)
        member = None if step in NAMED_BY_CLIENTS else _member(here)
    return "".join("/" + _clean(str(step)).replace("~", "~0").replace("/", "~1") for step in steps)


def _below(value: object, step: int | str) -> object:
    """What is one step down in parsed JSON; None where there is nothing."""
    if isinstance(value, dict):
        return value.get(step)
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None


def _member(value: object) -> object:
    """What an object says it is, which is the step that pydantic adds: a model by `kind`, a layer by `type`."""
    return value.get("kind", value.get("type")) if isinstance(value, dict) else None


def _clean(text: str) -> str:
    """Text that UTF-8 can carry, cut to a length worth reading: field names come from the client."""
    return text[:200].encode("utf-8", "replace").decode("utf-8")
