"""Logging in and out."""

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from datasync.api.dashboard.pages import pages_of
from datasync.api.dashboard.actions import read_form
from datasync.api.rates import GUESSES, RatesOf, address_of
from datasync.api.security import key_among, root_of
from datasync.api.sessions import COOKIE, LIFE_SECONDS
from datasync.errors import Unauthorized
from datasync.models.access import Right

router = APIRouter()


@router.get("/login")
async def show_login(request: Request, next: str = "") -> Response:
    return pages_of(request).page(
        request, "login.html", "", next=_own(next, root_of(request.scope)), form=True, refused=""
    )


@router.post("/login")
async def log_in(request: Request, rates: RatesOf) -> Response:
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Unauthorized("a page of another site may not log anybody in here")
    form = await read_form(request)
    root = root_of(request.scope)
    where = _own(form.get("next", ""), root)
    key = key_among(request.app.state.keys(), [form.get("key", "")])
    if key is None or Right.READ not in key.role.rights:
        rates.spend(GUESSES, address_of(request.scope))
        refused = "That is no key of this service." if key is None else "That key may not read."
        return pages_of(request).page(
            request, "login.html", "", status=401, next=where, form=True, refused=refused
        )
    answer = RedirectResponse(where, 303)
    answer.set_cookie(
        COOKIE,
        request.app.state.sessions.cookie(key),
        max_age=LIFE_SECONDS,
        path=root or "/",
        # A proxy's word is enough here: it can only make the cookie stricter.
        secure="https" in (request.url.scheme, request.headers.get("x-forwarded-proto")),
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/logout")
async def log_out(request: Request) -> Response:
    root = root_of(request.scope)
    answer = Response(headers={"HX-Redirect": f"{root}/ui/login"})
    answer.delete_cookie(COOKIE, path=root or "/")
    return answer


def _own(path: str, root: str) -> str:
    """A page of ours to go on to; never one of another site."""
    home = f"{root}/ui"
    fits = path == home or path.startswith((f"{home}/", f"{home}?"))
    return path if fits and "\\" not in path else home
