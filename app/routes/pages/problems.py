"""Problem documents as HTML pages, for browsers."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.routes.pages.login import login_url
from app.routes.pages.response import render
from halftime.contract.resources.problem import MEDIA_TYPE

Handler = Callable[[Request, Any], Response | Awaitable[Response]]

#: Remedy by status, where the problem's `detail` has none for people.
REMEDIES = {
    404: "Check the address, or look for it in the list of benchmarks.",
    500: "Try again. If it fails again, report the request id below to an operator of this server.",
    503: "Reload the page in a few seconds.",
}


def install_problem_pages(app: FastAPI) -> None:
    """Makes error handlers return HTML to a browser that requested a page; programs still get problem documents."""
    for kind, handler in list(app.exception_handlers.items()):
        app.add_exception_handler(kind, _as_page(handler))


def _as_page(handler: Handler) -> Handler:
    async def show(request: Request, error: Exception) -> Response:
        result = handler(request, error)
        response = result if isinstance(result, Response) else await result
        if not _wants_page(request) or response.media_type != MEDIA_TYPE:
            return response
        if response.status_code == 401:
            return _to_login(request)
        problem = {"errors": []} | json.loads(bytes(response.body))
        body = render(request, "problem.html", problem=problem, remedy=REMEDIES.get(response.status_code))
        kept = {
            name: value for name, value in response.headers.items() if name not in {"content-length", "content-type"}
        }
        return HTMLResponse(body, response.status_code, kept)

    return show


def _wants_page(request: Request) -> bool:
    path = request.url.path
    return (path == "/" or path.startswith("/ui")) and "text/html" in request.headers.get("Accept", "")


def _to_login(request: Request) -> Response:
    """Sends the browser to the login form, which leads back.

    For a link on another site, browsers leave out the SameSite=Strict cookie, also after a redirect. They send it when
    a page of this server navigates onward.
    """
    query = f"?{request.url.query}" if request.url.query else ""
    target = login_url(request.url.path + query if request.method in {"GET", "HEAD"} else "/")
    if request.headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}:
        return HTMLResponse(render(request, "redirect.html", target=target))
    return RedirectResponse(target, 303)
