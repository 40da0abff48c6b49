"""`/ui/login` and `/ui/logout`: the API key of a browser, in a cookie."""

import re
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app import errors
from app.routes.http.auth import COOKIE, AccessGate, AccessGateDep, authenticate
from app.routes.http.csrf import SameOrigin
from app.routes.pages.response import render

router = APIRouter(prefix="/ui", include_in_schema=False)

#: Lifetime of the cookie in seconds.
COOKIE_SECONDS = 14 * 86_400

#: Path of a page of this server. Browsers read `\` as `/`, skip tabs and line feeds, and read `//` as another host.
LOCAL = re.compile(r"/(?:ui/[^\s\\]*)?(?:\?[^\s\\]*)?", re.ASCII)

Next = Annotated[str, Query(alias="next", max_length=2000)]


@router.get("/login")
async def show_login(request: Request, gate: AccessGateDep, where: Next = "/") -> Response:
    """Shows the login form; redirects to the page where no key is needed or the cookie has a valid one."""
    if await gate.is_open() or await _is_logged_in(request, gate):
        return RedirectResponse(_local(where), 303)
    return HTMLResponse(render(request, "login.html", next=_local(where), fault=None))


@router.post("/login", dependencies=[SameOrigin])
async def login(request: Request, gate: AccessGateDep) -> Response:
    """Stores a valid key in a cookie and redirects to the page; 401 with the form for any other key."""
    form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    key, where = form.get("key", "").strip(), _local(form.get("next", "/"))
    try:
        await authenticate(gate.sessions, key)
    except errors.Unauthenticated as error:
        return HTMLResponse(render(request, "login.html", next=where, fault=error.detail), 401)
    response = RedirectResponse(where, 303)
    # Behind a proxy that terminates TLS, only the browser's `Origin` has the scheme.
    secure = request.url.scheme == "https" or request.headers.get("Origin", "").startswith("https:")
    response.set_cookie(COOKIE, key, COOKIE_SECONDS, secure=secure, httponly=True, samesite="strict")
    return response


@router.post("/logout", dependencies=[SameOrigin])
async def logout() -> Response:
    """Deletes the cookie with the key."""
    response = RedirectResponse("/ui/login", 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def login_url(wanted: str) -> str:
    """Returns the address of the login form that leads back to a page."""
    return "/ui/login?" + urlencode({"next": _local(wanted)})


async def _is_logged_in(request: Request, gate: AccessGate) -> bool:
    """Returns whether the cookie has a valid key."""
    try:
        await authenticate(gate.sessions, request.cookies.get(COOKIE, ""))
    except errors.Unauthenticated:
        return False
    return True


def _local(wanted: str) -> str:
    """Returns the wanted page, or the list of benchmarks where it is not a page of this server."""
    return wanted if LOCAL.fullmatch(wanted) else "/"
