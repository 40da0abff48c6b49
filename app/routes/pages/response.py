"""Pages as HTTP responses."""

from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, Response

from app.routes.http.auth import Caller
from app.routes.http.etags import matches, strong_etag
from app.web.rendering import environment


def render(request: Request, template: str, caller: Caller | None = None, **shown: Any) -> str:  # noqa: ANN401 # a template takes anything
    """Renders a template with the variables of every page; `caller` is None for somebody who is not logged in."""
    known = {
        "here": request.url.path,
        "scopes": caller.scopes if caller else frozenset(),
        "has_key": caller is not None and caller.key_id is not None,
    }
    return environment().get_template(template).render(known | shown)


def page(request: Request, template: str, caller: Caller, status: int = 200, **shown: Any) -> Response:  # noqa: ANN401 # a template takes anything
    """Returns the page, or 304 where the browser already has this version."""
    body = render(request, template, caller, **shown)
    headers = {"ETag": strong_etag(body.encode()), "Cache-Control": "private, no-cache", "Vary": "Accept, Cookie"}
    if status == 200 and matches(request.headers.get("If-None-Match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return HTMLResponse(body, status, headers)
