"""The way of a notification to its route, past the framework's layers.

Events come by the thousand, and the layers between the middleware and a route cost more than
all that is done for an event: matching, dependencies, exit stacks, models made and dumped. What the
route promises, and what OpenAPI says of it, holds here as well: both call the same function.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from datasync.api.error_responses import on_client_gone, on_datasync_error
from datasync.api.requests import ClientGone
from datasync.api.security import route_path
from datasync.api.senders import PATH
from datasync.errors import DataSyncError

Take = Callable[[Request], Awaitable[Response]]


class ShortWay:
    """The innermost layer: takes a plain POST of events itself, and leaves all else to the routes.

    `route` is what traces call it by.
    """

    def __init__(self, app: ASGIApp, take: Take, route: object) -> None:
        self._app = app
        self._take = take
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_plain(scope):
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        request = Request(scope, receive)
        try:
            answer = await self._take(request)
        except DataSyncError as error:
            answer = await on_datasync_error(request, error)
        except ClientGone as error:
            answer = await on_client_gone(request, error)
        await answer(scope, receive, send)


def _is_plain(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["method"] == "POST"
        and route_path(scope) == PATH
        and not scope["query_string"]
    )
