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
from datasync.api.senders import SenderPolicy, is_postponed
from datasync.api.shutdown import Shutdown
from datasync.controllers.intake import Intake
from datasync.controllers.sync_controller import SyncController
from datasync.errors import JournalFull

NOTIFICATIONS_AT_ONCE = 256  # each holds its body, of up to 1 MiB
UNPROVED_AT_ONCE = 64  # of senders who show no key: slow strangers must not take all places
WAITS_AT_ONCE = 256  # each asks the ledger a dozen times a second
PLANS_AT_ONCE = 16  # two are made, the others wait for that


class Places:
    """So many at once and no more; belongs to the event loop. Nobody waits for a place."""

    def __init__(self, count: int) -> None:
        self._left = count

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Whether there was a place; it is taken as long as the block runs."""
        free = self._left > 0
        self._left -= free
        try:
            yield free
        finally:
            self._left += free


@dataclass(frozen=True, slots=True)
class Lanes:
    """How many threads may be busy at once with what may take long, so that the rest is not kept.

    `remote` waits for S3, `plans` reads whole listings, `health` answers within its bound.
    `waits` and `planned` are requests that are held open meanwhile.
    """

    remote: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(8))
    plans: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))
    health: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(32))
    waits: Places = field(default_factory=lambda: Places(WAITS_AT_ONCE))
    planned: Places = field(default_factory=lambda: Places(PLANS_AT_ONCE))


@dataclass(frozen=True, slots=True)
class Desk:
    """Where notifications are handed in: who may, what becomes of them, how many at once."""

    intake: Intake
    senders: SenderPolicy
    hearing: Hearing
    shutdown: Shutdown
    places: Places = field(default_factory=lambda: Places(NOTIFICATIONS_AT_ONCE))
    unproved: Places = field(default_factory=lambda: Places(UNPROVED_AT_ONCE))

    @contextmanager
    def place(self, request: Request) -> Iterator[None]:
        """Raises: JournalFull when every place for such a sender is taken."""
        places = self.unproved if is_postponed(request.scope) else self.places
        with places.place() as free:
            if not free:
                raise JournalFull("too many notifications at once")
            yield


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
