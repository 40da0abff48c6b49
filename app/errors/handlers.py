"""Exception handlers: every error of the app as application/problem+json (RFC 9457)."""

from http import HTTPStatus
from json import JSONDecodeError
from typing import Any

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

from app.errors import BadRequest, DatabaseUnavailable, HalftimeError, Invalid, StorageFull
from halftime.contract.resources.faults import field_errors
from halftime.contract.resources.problem import MEDIA_TYPE, Problem

log = structlog.get_logger(__name__)

DISK_FULL = (
    "Nothing was changed: the disk of PostgreSQL is full. An operator must free or add space; until then, stored "
    "data can still be read."
)


def install_error_handlers(app: FastAPI) -> None:
    """Makes the app return every error as a problem document."""
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
    """Returns the problem document of an error."""
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
        return problem_response(request, BadRequest(_invalid_json(error)))
    if any(fault.loc == "" for fault in errors) and "json" not in request.headers.get("Content-Type", ""):
        return problem_response(
            request, Invalid("Send the body as JSON, with `Content-Type: application/json`.", errors)
        )
    where = ", ".join(sorted({field.loc or "the body" for field in errors})[:5])
    return problem_response(request, Invalid(f"Not valid at {where}. `errors` explains each fault.", errors))


def _invalid_json(error: RequestValidationError) -> str:
    """Returns the detail about a body that is not JSON, with the place that the framework found."""
    (fault,) = error.errors()
    found = JSONDecodeError(fault["ctx"]["error"], error.body, fault["loc"][-1])
    return (
        f"The body is not valid JSON: line {found.lineno}, column {found.colno}: {found.msg}. "
        "Correct it and send it again."
    )


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == BadRequest.status:  # the framework could not decode the body
        return problem_response(
            request,
            BadRequest("The body is not valid JSON in UTF-8, or is nested too deeply. Correct it and send it again."),
        )
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
        # Pages are not in the OpenAPI document: they keep the framework's header.
        headers["Allow"] = ", ".join(_allowed_methods(request)) or headers["Allow"]
    return JSONResponse(problem.model_dump(), error.status_code, headers, media_type=MEDIA_TYPE)


def _allowed_methods(request: Request) -> list[str]:
    """Returns all methods of the path; the framework names only those of one route."""
    path = getattr(request.scope.get("route"), "path", None)
    methods = {method.upper() for method in request.app.openapi()["paths"].get(path, {})}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


async def _on_database_error(request: Request, error: Exception) -> JSONResponse:
    log.error("database unavailable", error=str(error), path=request.url.path)
    if _is_disk_full(error):
        return problem_response(request, StorageFull(DISK_FULL, headers={"Retry-After": "60"}))
    unavailable = DatabaseUnavailable(
        "PostgreSQL does not answer. Try again in a few seconds.", headers={"Retry-After": "5"}
    )
    return problem_response(request, unavailable)


def _is_disk_full(error: BaseException) -> bool:
    """Returns whether the cause of an error is a full disk of PostgreSQL (SQLSTATE 53100)."""
    cause = getattr(error, "orig", None) or error.__cause__
    return isinstance(error, DiskFull) or (cause is not None and _is_disk_full(cause))


async def _on_unexpected_error(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error", path=request.url.path, exc_info=error)
    problem = Problem(
        type="/problems/internal",
        title="Internal error",
        status=500,
        detail="An unexpected error occurred. An operator finds the traceback in the server's log by `request_id`.",
        instance=request.url.path,
        request_id=_request_id(request),
    )
    return JSONResponse(problem.model_dump(), 500, media_type=MEDIA_TYPE)


def _request_id(request: Request) -> str:
    request_id: str = request.state.request_id
    return request_id
