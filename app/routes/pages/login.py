"""`/ui/login`: a key for the browser to keep."""

import re
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app import errors
from app.routes.http.auth import COOKIE, AccessGate, AccessGateDep, holder
from app.routes.http.csrf import SameOrigin
from app.routes.pages.answer import render

router = APIRouter(prefix="/ui", include_in_schema=False)

#: Seconds that a browser keeps the key.
KEPT_SECONDS = 14 * 86_400

#: A page of this server. Browsers take `\` for `/`, skip tabs and line feeds, and go elsewhere from `//`.
LOCAL = re.compile(r"/(?:ui/[^\s\\]*)?(?:\?[^\s\\]*)?", re.ASCII)

Next = Annotated[str, Query(alias="next", max_length=2000)]


@router.get("/login")
async def show_login(request: Request, door: AccessGateDep, where: Next = "/") -> Response:
    """Asks for a key, where one is needed and the browser keeps none that holds."""
    if await door.is_open() or await _is_in(request, door):
        return RedirectResponse(_local(where), 303)
    return HTMLResponse(render(request, "login.html", next=_local(where), fault=None))


@router.post("/login", dependencies=[SameOrigin])
async def login(request: Request, door: AccessGateDep) -> Response:
    """Lets the browser keep a key that holds, and goes where it was going; 401 with the form for any other."""
    form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    key, where = form.get("key", "").strip(), _local(form.get("next", "/"))
    try:
        await holder(door.sessions, key)
    except errors.Unauthenticated as error:
        return HTMLResponse(render(request, "login.html", next=where, fault=error.detail), 401)
    answer = RedirectResponse(where, 303)
    # Behind a proxy that speaks TLS only the browser knows.
    secure = request.url.scheme == "https" or request.headers.get("Origin", "").startswith("https:")
    answer.set_cookie(COOKIE, key, KEPT_SECONDS, secure=secure, httponly=True, samesite="strict")
    return answer


@router.post("/logout", dependencies=[SameOrigin])
async def logout() -> Response:
    """Lets the browser forget the key."""
    answer = RedirectResponse("/ui/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def login_url(wanted: str) -> str:
    """Where to send somebody without a key who wants a page."""
    return "/ui/login?" + urlencode({"next": _local(wanted)})


async def _is_in(request: Request, door: AccessGate) -> bool:
    """Whether the browser keeps a key that holds."""
    try:
        await holder(door.sessions, request.cookies.get(COOKIE, ""))
    except errors.Unauthenticated:
        return False
    return True


def _local(wanted: str) -> str:
    """The page that was wanted; the list where that is no page of this server."""
    return wanted if LOCAL.fullmatch(wanted) else "/"
