"""A large object in its ranges, and everything that can go wrong with them.

The table is `faults.py`. The sizes from which an object is large are small here: what is tested
is the way of the bytes, not their number.
"""

from collections import Counter

import pytest

from datasync.models.sync_models import RunStatus
from datasync.services.engine import fetch, ranges, transfer_loop
from tests.engine.network.faults import ANSWERS, RANGES
from tests.support.network import ATTEMPTS, PATIENCE_SECONDS, NetworkWorld
from tests.support.s3_front import TRULY

KIB = 2**10
OLD, NEW = b"old", bytes(range(256)) * 4 * 200  # four ranges, the last one shorter


FAULTS = ANSWERS | RANGES


@pytest.fixture
def large(net: NetworkWorld, monkeypatch: pytest.MonkeyPatch) -> NetworkWorld:
    monkeypatch.setattr(fetch, "MEMORY_BYTES", 16 * KIB)
    for name in ("FIRST_BYTES", "RANGE_BYTES"):
        monkeypatch.setattr(ranges, name, 64 * KIB)
    for module in (fetch, transfer_loop):
        monkeypatch.setattr(module, "LARGE_BYTES", 64 * KIB)
    return net


def change(net: NetworkWorld, *keys: str) -> None:
    """These are held as small objects, and are large ones in the bucket by now."""
    for key in keys:
        net.bucket.put(key, OLD)
    assert net.sync().status is RunStatus.SUCCESS
    for key in keys:
        net.bucket.put(key, NEW)
    net.front.server.requests.clear()


def asked(net: NetworkWorld, key: str) -> Counter[str]:
    """How often each range of a key was asked for; "" is the first question, without one."""
    return Counter(seen.headers.get("range", "") for seen in net.front.asked(key))


def test_a_fault_of_its_ranges_fails_an_object_alone(large: NetworkWorld) -> None:
    """Every fault lasts, each at a key of its own, in one run; `fine` has none."""
    large.set_patience(3 * PATIENCE_SECONDS)  # requests are counted, and all are under way at once
    change(large, "fine", *FAULTS)
    for name, fault in FAULTS.items():
        large.front.script(name, large.front.in_ranges(fault.reply))

    run = large.sync()

    assert (run.status, run.counts.downloaded) == (RunStatus.PARTIAL, 1)
    failed = {told.key: told for told in large.failed(run)}
    errors = {name: fault.error.__name__ for name, fault in FAULTS.items()}
    assert {key: told.error for key, told in failed.items()} == errors
    assert large.tree() == dict.fromkeys(FAULTS, OLD) | {"fine": NEW}
    large.assert_nothing_staged()
    for name, fault in FAULTS.items():
        assert fault.hint in (failed[name].hint or ""), name
        tries = asked(large, name)
        assert max(tries.values()) <= ATTEMPTS + fault.repeats, name
        assert tries[""] <= fault.tries and len(tries) > 1, name
    large.recovers()


def test_a_fault_of_its_ranges_that_passes_costs_no_object(large: NetworkWorld) -> None:
    """The same faults, each but once: what may get better does so in the same run."""
    passing = {name: fault for name, fault in FAULTS.items() if fault.tries == ATTEMPTS}
    large.set_patience(PATIENCE_SECONDS)
    change(large, *passing)
    for name, fault in passing.items():
        large.front.script(name, TRULY, fault.reply, TRULY)

    large.gets_equal()
