"""The last lines of defence: a loop that stumbles over itself, a leader that died at work."""

import threading

import pytest

from datasync.models.sync_models import RunKind, RunStatus
from datasync.services.engine.transfer_loop import TransferLoop
from tests.support import fail
from tests.support.world import World, eventually


@pytest.mark.timeout(30)
def test_a_loop_that_stumbles_fails_what_it_carries_and_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reopen(concurrency=1)
    gate, expire = threading.Event(), TransferLoop._expire
    world.bucket.put("a", b"one")
    world.bucket.script("a", fail.pause_until(gate))

    def stumble(loop: TransferLoop) -> None:
        if loop._active and not gate.is_set():
            gate.set()
            raise RuntimeError("a mistake")
        expire(loop)

    monkeypatch.setattr(TransferLoop, "_expire", stumble)

    first = world.sync()

    assert first.status is RunStatus.PARTIAL
    assert [one.error for one in world.ledger.outcomes(run_id=first.id)] == ["InternalFault"]
    assert isinstance(world.service.last_problem, RuntimeError)
    assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()


def test_a_run_whose_leader_died_is_ended_by_the_next_and_joined_by_nobody(world: World) -> None:
    world.bucket.put("a", b"one")
    dead, _ = world.ledger.request_run(RunKind.RECONCILE, "", 1.0)
    world.ledger.start_run(dead.id, 2.0)

    world.service.start()

    eventually(lambda: world.ledger.run(dead.id).status is RunStatus.INTERRUPTED)
    run, new = world.service.request_run()
    assert new
    eventually(lambda: world.ledger.run(run.id).status is RunStatus.SUCCESS)
    world.assert_equal()
