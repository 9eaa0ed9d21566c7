"""How a browser hears that it may not, or asked for nothing: a page, or words on top of one."""

from collections.abc import Callable
from urllib.parse import urlencode

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from datasync.api.dashboard.actions import refused
from datasync.api.dashboard.pages import Pages, wants_page
from datasync.api.error_responses import error_answer, status_of
from datasync.api.security import caller_of, root_of, route_path
from datasync.errors import DataSyncError, Unauthorized

PLACES = ("/", "/ui")


def is_page(scope: Scope) -> bool:
    """Whether a person looks at the answer."""
    path = route_path(scope)
    return path in PLACES or path.startswith("/ui/")


def refusal(
    pages: Callable[[], Pages | None], has_keys: Callable[[], bool]
) -> Callable[[Scope, DataSyncError], Response]:
    """What answers who is not let in, or asks for what there is not."""

    def answer(scope: Scope, error: DataSyncError) -> Response:
        headers, shown = Headers(scope=scope), pages()
        if not is_page(scope) or shown is None:
            return error_answer(error)
        if headers.get("hx-request"):
            return refused(error, status_of(error))
        if scope["method"] not in ("GET", "HEAD") or not wants_page(headers.get("accept", "")):
            return error_answer(error)
        request = Request(scope)
        if isinstance(error, Unauthorized) and has_keys():
            query = scope.get("query_string", b"").decode("latin-1")
            here = f"{root_of(request.scope)}{route_path(scope)}{f'?{query}' if query else ''}"
            login = f"{root_of(request.scope)}/ui/login?{urlencode({'next': here})}"
            return RedirectResponse(login, 303)
        status, said = status_of(error), f"{error}. {error.hint}".strip()
        if caller_of(scope) is None:
            return shown.page(
                request, "login.html", "", status=status, next="", form=False, refused=said
            )
        return shown.page(request, "refused.html", "none", status=status, refused=said)

    return answer
