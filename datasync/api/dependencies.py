"""What routes get from the running application: the controller, the end of it, the lanes.

Everything here exists from the application's start to its end; nothing is made at import.
"""

from dataclasses import dataclass, field
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from datasync.api.shutdown import Shutdown
from datasync.controllers.sync_controller import SyncController


@dataclass(frozen=True, slots=True)
class Lanes:
    """How many threads may be busy at once with what may take long, so that the rest is not kept.

    `remote` waits for S3, `plans` reads whole listings, `health` answers within its bound.
    """

    remote: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(8))
    plans: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))
    health: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(32))


def _controller(request: Request) -> SyncController:
    controller: SyncController = request.app.state.controller
    return controller


def _shutdown(request: Request) -> Shutdown:
    shutdown: Shutdown = request.app.state.shutdown
    return shutdown


def _lanes(request: Request) -> Lanes:
    lanes: Lanes = request.app.state.lanes
    return lanes


ControllerOf = Annotated[SyncController, Depends(_controller)]
ShutdownOf = Annotated[Shutdown, Depends(_shutdown)]
LanesOf = Annotated[Lanes, Depends(_lanes)]
