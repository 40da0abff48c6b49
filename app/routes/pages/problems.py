"""Problems of pages, shown as pages."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.routes.pages.answer import render
from app.routes.pages.login import login_url
from halftime.contract.resources.problem import MEDIA_TYPE

Handler = Callable[[Request, Any], Response | Awaitable[Response]]

#: What helps, where the problem's own words do not say it.
REMEDIES = {
    404: "Check the address, or look for it in the list of benchmarks.",
    410: "Run it again from its request, if you still have that.",
    500: "Try again. If it stays so, tell whoever runs this server, with the request id below.",
    503: "Reload the page in a few seconds.",
}


def install_problem_pages(app: FastAPI) -> None:
    """What a browser asks of a page and does not get becomes a page; programs still get problem documents."""
    for kind, handler in list(app.exception_handlers.items()):
        app.add_exception_handler(kind, _shown(handler))


def _shown(handler: Handler) -> Handler:
    async def show(request: Request, error: Exception) -> Response:
        made = handler(request, error)
        answer = made if isinstance(made, Response) else await made
        if not _wants_page(request) or answer.media_type != MEDIA_TYPE:
            return answer
        if answer.status_code == 401:
            return _to_login(request)
        problem = {"errors": []} | json.loads(bytes(answer.body))
        body = render(request, "problem.html", problem=problem, remedy=REMEDIES.get(answer.status_code))
        kept = {name: value for name, value in answer.headers.items() if name not in {"content-length", "content-type"}}
        return HTMLResponse(body, answer.status_code, kept)

    return show


def _wants_page(request: Request) -> bool:
    path = request.url.path
    return (path == "/" or path.startswith("/ui")) and "text/html" in request.headers.get("Accept", "")


def _to_login(request: Request) -> Response:
    """To the login, and from there back.

    With a link on another site a browser does not send the cookie that it may have, nor with where that link is
    redirected to; it does so with what a page of ours leads to.
    """
    query = f"?{request.url.query}" if request.url.query else ""
    target = login_url(request.url.path + query if request.method in {"GET", "HEAD"} else "/")
    if request.headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}:
        return HTMLResponse(render(request, "onward.html", target=target))
    return RedirectResponse(target, 303)
