"""What routes get from the running application: the controller, the end of it, the lanes.

Everything here exists from the application's start to its end; nothing is made at import.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from datasync.api.hearing import Hearing
from datasync.api.senders import SenderPolicy
from datasync.api.shutdown import Shutdown
from datasync.controllers.intake import Intake
from datasync.controllers.sync_controller import SyncController
from datasync.errors import JournalFull

NOTIFICATIONS_AT_ONCE = 256  # each holds its body, of up to 1 MiB


class Places:
    """So many at once and no more; belongs to the event loop. Nobody waits for a place."""

    def __init__(self, count: int) -> None:
        self._left = count

    @contextmanager
    def place(self) -> Iterator[None]:
        """Raises: JournalFull when every place is taken."""
        if not self._left:
            raise JournalFull("too many notifications at once")
        self._left -= 1
        try:
            yield
        finally:
            self._left += 1


@dataclass(frozen=True, slots=True)
class Lanes:
    """How many threads may be busy at once with what may take long, so that the rest is not kept.

    `remote` waits for S3, `plans` reads whole listings, `health` answers within its bound.
    """

    remote: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(8))
    plans: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))
    health: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(32))


@dataclass(frozen=True, slots=True)
class Desk:
    """Where notifications are handed in: who may, what becomes of them, how many at once."""

    intake: Intake
    senders: SenderPolicy
    hearing: Hearing
    shutdown: Shutdown
    places: Places = field(default_factory=lambda: Places(NOTIFICATIONS_AT_ONCE))


# All `async`: the framework sends a plain function to a worker thread, once for each request.
async def _controller(request: Request) -> SyncController:
    controller: SyncController = request.app.state.controller
    return controller


async def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


async def _shutdown(request: Request) -> Shutdown:
    shutdown: Shutdown = request.app.state.shutdown
    return shutdown


async def _lanes(request: Request) -> Lanes:
    lanes: Lanes = request.app.state.lanes
    return lanes


ControllerOf = Annotated[SyncController, Depends(_controller)]
DeskOf = Annotated[Desk, Depends(_desk)]
ShutdownOf = Annotated[Shutdown, Depends(_shutdown)]
LanesOf = Annotated[Lanes, Depends(_lanes)]
