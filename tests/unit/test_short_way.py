"""Which requests take the short way; that their answers are the route's, test_notification says."""

import asyncio
from typing import Any, cast

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from datasync.api.senders import PATH
from datasync.api.short_way import ShortWay
from datasync.app import create_app

PLAIN: Scope = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "headers": []}


def way_of(scope: Scope) -> str:
    """Who was asked for the answer."""
    asked: list[str] = []

    async def routes(_scope: Scope, _receive: Receive, _send: Send) -> None:
        asked.append("routes")

    async def take(_request: Request) -> Response:
        asked.append("short")
        return Response()

    async def nothing(*_: Any) -> Any:
        return None

    asyncio.run(ShortWay(routes, take, "the route")(scope, nothing, nothing))
    [way] = asked
    return way


def test_a_plain_post_of_events_takes_it_and_traces_know_its_route() -> None:
    scope = dict(PLAIN)
    assert way_of(scope) == "short"
    assert scope["route"] == "the route"


@pytest.mark.parametrize(
    "other",
    [
        {"query_string": b"wait=1"},
        {"method": "GET"},
        {"path": PATH + "/"},
        {"path": "/sync/trigger"},
        {"type": "websocket"},
    ],
)
def test_all_else_is_left_to_the_routes(other: dict[str, Any]) -> None:
    assert way_of({**PLAIN, **other}) == "routes"


def test_the_application_has_it_innermost() -> None:
    ours = create_app().user_middleware[-1]  # the first is the outermost
    assert cast(Any, ours.cls) is ShortWay
    assert getattr(ours.kwargs["route"], "path", None) == PATH
