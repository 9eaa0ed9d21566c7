"""A small object on its way, and everything that can go wrong: through the adapter and the engine.

The table is `faults.py`. `a` is held in an older version and has changed, so has its neighbour.
"""

from collections.abc import Callable

import pytest

from datasync.models.sync_models import RunStatus, State
from tests.engine.network.faults import ANSWERS, BODIES, HARMLESS, OBJECT_ANSWERS, OLD, Fault
from tests.support.network import ATTEMPTS, NetworkWorld
from tests.support.s3_front import TRULY, Spoilt, break_off, end
from tests.support.scripted_server import Peer

NEW = b"the new version"


@pytest.fixture
def changed(net: NetworkWorld) -> NetworkWorld:
    """Two keys are held, and have changed in the bucket since."""
    for body in (OLD, NEW):
        for key in ("a", "b"):
            net.bucket.put(key, body)
        if body is OLD:
            assert net.sync().status is RunStatus.SUCCESS
    net.front.server.requests.clear()
    return net


def assert_fails_alone(net: NetworkWorld, fault: Fault) -> None:
    """A run with a fault that lasts, then one with a fault that passes."""
    net.front.script("a", fault.reply)

    run = net.sync()

    assert (run.status, run.counts.failed, run.counts.downloaded) == (RunStatus.PARTIAL, 1, 1)
    assert net.tree() == {"a": OLD, "b": NEW}
    (told,) = net.failed(run)
    assert (told.key, told.error) == ("a", fault.error.__name__)
    assert fault.hint in (told.hint or "") and "hush" not in told.message
    assert net.row("a").state is State.FAILED and not net.in_sync
    assert fault.allows(len(net.front.asked("a")))
    net.assert_nothing_staged()
    if fault.tries == ATTEMPTS:
        net.front.script("a", fault.reply, TRULY)
        net.gets_equal()
    else:
        net.recovers()


@pytest.mark.parametrize("name", [*ANSWERS, *OBJECT_ANSWERS, *BODIES])
def test_a_fault_fails_the_key_alone_and_passes(changed: NetworkWorld, name: str) -> None:
    fault = {**ANSWERS, **OBJECT_ANSWERS, **BODIES}[name]
    changed.set_patience(fault.patience)
    assert_fails_alone(changed, fault)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_like_a_fault(changed: NetworkWorld, name: str) -> None:
    changed.front.script("a", Spoilt(HARMLESS[name]))
    changed.gets_equal()
    assert len(changed.front.asked("a")) == 1


# At any byte


@pytest.mark.parametrize("ending", [Peer.reset, end])
def test_an_answer_that_breaks_off_at_any_byte(
    net: NetworkWorld, ending: Callable[[Peer], bool]
) -> None:
    """Each key's at another one. What is not whole is asked for once more, and is right then.

    One try more than that: a first one may meet nothing but kept connections that other answers'
    ends have closed. The server never hears of such a try.
    """
    net.reopen(attempts=ATTEMPTS + 1)
    net.bucket.put("000", NEW)
    length = len(net.front.answer_of("000"))
    for count in range(length):
        key = f"{count:03}"
        net.bucket.put(key, NEW)
        net.front.script(key, Spoilt(break_off(ending, count)), TRULY)

    run = net.sync()

    assert (run.status, run.counts.downloaded) == (RunStatus.SUCCESS, length)
    net.assert_equal()
    asked = [len(net.front.asked(f"{count:03}")) for count in range(length)]
    assert asked[1:] == [ATTEMPTS] * (length - 1) and asked[0] in (ATTEMPTS, ATTEMPTS + 1)
