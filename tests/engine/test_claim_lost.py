"""A service and its ledger elsewhere: busy for a moment, or taken by another directory."""

from collections.abc import Callable

import pytest

from datasync.errors import LedgerBusy
from datasync.services.engine import runner
from datasync.services.engine.runner import Engine
from datasync.services.storage.ledger import Ledger, sqlite_url
from tests.support.world import World, eventually


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "TURN_SECONDS", 0.05)


def test_a_ledger_that_is_busy_for_a_moment_does_not_end_the_lead(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Engine] = []
    busy: list[None] = []
    opening, asking = Engine.open, Ledger.require_claim

    def noticed(engine: Engine, *rest: Callable[[], bool]) -> None:
        opened.append(engine)
        opening(engine, *rest)

    monkeypatch.setattr(Engine, "open", noticed)
    world.service.start()
    eventually(lambda: world.service.leading and opened)

    def is_busy(ledger: Ledger, connection: object = None) -> None:
        if connection is None and len(busy) < 3:
            busy.append(None)
            raise LedgerBusy("the server is restarting")
        asking(ledger)

    monkeypatch.setattr(Ledger, "require_claim", is_busy)
    eventually(lambda: len(busy) == 3)
    world.bucket.put("a", b"x")
    world.service.mark([("a", "event")])
    eventually(lambda: world.tree() == {"a": b"x"})
    assert len(opened) == 1


def test_a_service_that_lost_its_ledger_works_no_more_until_it_has_it_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "TAKEN_SECONDS", 0.1)
    world.bucket.put("a", b"x")
    world.sync()
    world.ledger.claim("ours", str(world.root))
    world.service.start()
    eventually(lambda: world.service.leading)
    thief = Ledger.open(sqlite_url(world.root / ".datasync" / "ledger.db"))
    thief.claim("theirs", "/elsewhere", over=True)
    eventually(lambda: not world.service.leading)
    world.bucket.put("b", b"x")
    thief.mark([("b", "event")], 0.0)
    world.service.wake()
    eventually(lambda: not world.service.leading)
    assert "b" not in world.tree()
    thief.claim("ours", str(world.root), over=True)
    thief.mark([("b", "event")], 0.0)
    eventually(lambda: world.service.leading and "b" in world.tree())
    thief.close()
